"""The scripts by which bash, zsh and fish complete `bodega`, also as `./bodega` or by another path.

All three ask the command as it was typed, in the way that Typer has for fish: the line up to the cursor goes in, and
one candidate with its description comes out on each line. Typer's own scripts ask whatever `bodega` PATH has, and that
of bash takes 'penguins@3' for three words.
"""

BASH = r"""
_bodega_completion() {
    local line=${COMP_LINE:0:COMP_POINT} word given candidate
    word=${line##*[[:blank:]]}
    # Bash replaces what stands behind the last of its word breaks, to which '@' and ':' belong.
    given=${word%"${word##*["$COMP_WORDBREAKS"]}"}
    COMPREPLY=()
    while IFS=$'\t' read -r candidate _; do
        [[ -z $candidate ]] || COMPREPLY+=("${candidate#"$given"}")
    done < <(_BODEGA_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args _TYPER_COMPLETE_ARGS=$line \
        "${1/#\~\//$HOME/}" 2>/dev/null)
    if [[ ${COMPREPLY[0]-} == *@ ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -o nosort -F _bodega_completion bodega 2>/dev/null ||
    complete -o default -F _bodega_completion bodega  # before bash 4.4
"""

ZSH = r"""
#compdef bodega
_bodega() {
    local program=${(Q)words[1]} line value
    local -a closed open
    for line in ${(f)"$(_BODEGA_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="${(j: :)words[1,CURRENT-1]} $PREFIX" ${program/#\~\//$HOME/} 2>/dev/null)"}; do
        value=${line%%$'\t'*}
        line=${value//:/\\:}${${line#$value}/$'\t'/:}
        if [[ $value == *@ ]]; then open+=($line); else closed+=($line); fi
    done
    (( $#closed + $#open )) || { _default; return }
    _describe -V 'bodega' closed -- open -S ''
}
if [[ ${funcstack[1]-} == _bodega ]]; then _bodega "$@"; else compdef _bodega bodega; fi
"""

FISH = r"""
function __bodega_complete
    set -l words (commandline --tokenize --cut-at-cursor --current-process)
    set -l line (commandline --cut-at-cursor --current-process | string collect)
    set -l program (string replace --regex '^~/' "$HOME/" -- $words[1])
    set -l found (env _BODEGA_COMPLETE=complete_fish _TYPER_COMPLETE_FISH_ACTION=get-args \
        _TYPER_COMPLETE_ARGS="$line" $program 2>/dev/null | string match --regex '.+')
    if set -q found[1]
        printf '%s\n' $found
    else
        __fish_complete_path (commandline --current-token --cut-at-cursor)
    end
end
complete --command bodega --no-files --keep-order --arguments '(__bodega_complete)'
"""

SCRIPTS = {"bash": BASH.strip(), "zsh": ZSH.strip(), "fish": FISH.strip()}
