#compdef underpass
# Completion of underpass's command line for zsh; _underpass in a folder of $fpath.

local -a commands
commands=(
    'init:make keys and files for a server and its homes'
    'check:try a file; show its warnings and who gets what'
    'explain:say which service gets a name, and why'
    'import:print the file that replaces those of rathole and Traefik'
    'status:ask the one that runs with a file how it is'
    'demo:both roles and two sites on this machine'
    'help:print the commands'
)
if ((CURRENT == 2)); then
    _describe command commands
    _arguments \
        '(- *)'{-h,--help}'[print the commands]' \
        '(- *)'{-V,--version}'[print the version]' \
        '(- *)--genkey[print a new key pair]' \
        {-s,--server}'[run as the server, on the VPS]:file:_files' \
        {-c,--client}'[run as the client, at home]:file:_files' \
        '*:file:_files'
    return
fi
local command=$words[2]
shift words
((CURRENT--))
case $command in
init)
    _arguments \
        '--add[one more home for the server that is there]' \
        '--dir[where the files are, or shall be]:folder:_files -/' \
        '*:the VPS, and NAME=HOST for each home:'
    ;;
check) _arguments '--against[what runs now]:file:_files' '1:file:_files' ;;
explain) _arguments '1:file:_files' '2:name:_hosts' ;;
import) _arguments '*:file:_files' ;;
status)
    _arguments \
        '--json[as a program reads it]' \
        '--watch[every 2 seconds]' \
        {-s,--server}'[the server of a file of both roles]' \
        {-c,--client}'[the client of a file of both roles]' \
        '1:file:_files'
    ;;
demo) _arguments '--once[end when all has been visited]' ;;
help) ;;
*) _arguments '*:file:_files' ;;
esac
