# Completions of reveille for bash.
_reveille() {
    local line
    COMPREPLY=()
    while IFS= read -r line; do
        COMPREPLY+=("$line")
    done < <(REVEILLE_COMPLETE=bash command reveille -- "$COMP_LINE" "$COMP_POINT" "$COMP_WORDBREAKS" 2>/dev/null)
}
# The program adds the space after a word that is complete.
if ((BASH_VERSINFO[0] > 4 || (BASH_VERSINFO[0] == 4 && BASH_VERSINFO[1] >= 4))); then
    complete -o nospace -o nosort -o bashdefault -o default -F _reveille reveille
else
    complete -o nospace -o bashdefault -o default -F _reveille reveille
fi
