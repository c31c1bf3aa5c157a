#compdef reveille
# Completions of reveille for zsh.
_reveille() {
    local line
    local -a words_before whole begun
    words_before=("${(@Q)words[1,CURRENT-1]}")
    # `open` marks a value that goes on, such as a directory.
    while IFS= read -r line; do
        if [[ $line == open$'\t'* ]]; then
            begun+=("${line#*$'\t'}")
        else
            whole+=("${line#*$'\t'}")
        fi
    done < <(REVEILLE_COMPLETE=zsh command reveille -- "${words_before[@]}" "$PREFIX" 2>/dev/null)
    local found=1
    (( $#whole )) && _describe -V 'value' whole && found=0
    (( $#begun )) && _describe -V 'value' begun -S '' && found=0
    return found
}
if [[ ${funcstack[1]} == _reveille ]]; then
    _reveille "$@"
else
    compdef _reveille reveille
fi
