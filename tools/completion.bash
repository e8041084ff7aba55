# Completion of the program `mlxn` for bash. Commands and options come from the program itself (`mlxn help --list`).
_mlxn() {
    local word=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} program=${COMP_WORDS[0]}
    COMPREPLY=()
    if [ "$COMP_CWORD" -eq 1 ] || { [ "$COMP_CWORD" -eq 2 ] && [ "$previous" = help ]; }; then
        mapfile -t COMPREPLY < <(compgen -W "$("$program" help --list 2> /dev/null)" -- "$word")
        return
    fi
    case $previous in
        --precision) mapfile -t COMPREPLY < <(compgen -W "fast f32" -- "$word"); return ;;
        --kv-type)
            mapfile -t COMPREPLY < <(compgen -W "f32 f16 bf16 q8_0 q5_1 q5_0 q4_1 q4_0 tq8 tq6 tq5 tq4" -- "$word")
            return
            ;;
        --device) mapfile -t COMPREPLY < <(compgen -W "cpu" -- "$word"); return ;;
        -o | --output) mapfile -t COMPREPLY < <(compgen -W "md csv json jsonl" -- "$word"); return ;;
    esac
    if [[ $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$("$program" help --list "${COMP_WORDS[1]}" 2> /dev/null)" -- "$word")
    else
        mapfile -t COMPREPLY < <(compgen -f -- "$word")
    fi
}
complete -o filenames -F _mlxn mlxn
