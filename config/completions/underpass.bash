# Completion of underpass's command line for bash; /usr/share/bash-completion/completions/underpass.

_underpass() {
    local current=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]}
    local command='' options='' word files=yes
    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    COMPREPLY=()
    case $previous in
    --against | --dir) ;;
    *)
        case $command in
        '') options='init check explain import status demo help
            --server --client --genkey --version --help' ;;
        init) options='--add --dir' files='' ;;
        check) options='--against' ;;
        explain | import) ;;
        status) options='--json --watch --server --client' ;;
        demo) options='--once' files='' ;;
        help) files='' ;;
        *) options='--server --client' ;;
        esac
        ;;
    esac
    if [[ $previous == --dir ]]; then
        mapfile -t COMPREPLY < <(compgen -d -- "$current")
        return
    fi
    mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    if [[ $files && $current != -* ]]; then
        mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -f -- "$current")
    fi
}
complete -o filenames -F _underpass underpass
