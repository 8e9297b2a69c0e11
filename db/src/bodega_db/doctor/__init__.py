"""The checks of `bodega doctor`: what each looks at, and what it found."""
