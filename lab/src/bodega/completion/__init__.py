"""What TAB completes, and the scripts that teach it to a shell."""
