# Completion of underpass's command line for fish; vendor_completions.d/underpass.fish.

set --local commands init check explain import status demo help

complete -c underpass -n "not __fish_seen_subcommand_from $commands" -s s -l server \
    -d 'run as the server, on the VPS'
complete -c underpass -n "not __fish_seen_subcommand_from $commands" -s c -l client \
    -d 'run as the client, at home'
complete -c underpass -n "not __fish_seen_subcommand_from $commands" -l genkey \
    -d 'print a new key pair'
complete -c underpass -s h -l help -d 'print the commands'
complete -c underpass -s V -l version -d 'print the version'

complete -c underpass -n __fish_use_subcommand -a init \
    -d 'make keys and files for a server and its homes'
complete -c underpass -n __fish_use_subcommand -a check \
    -d 'try a file; show its warnings and who gets what'
complete -c underpass -n __fish_use_subcommand -a explain \
    -d 'say which service gets a name, and why'
complete -c underpass -n __fish_use_subcommand -a import \
    -d 'print the file that replaces those of rathole and Traefik'
complete -c underpass -n __fish_use_subcommand -a status \
    -d 'ask the one that runs with a file how it is'
complete -c underpass -n __fish_use_subcommand -a demo \
    -d 'both roles and two sites on this machine'
complete -c underpass -n __fish_use_subcommand -a help -d 'print the commands'

complete -c underpass -n '__fish_seen_subcommand_from init demo help' -f
complete -c underpass -n '__fish_seen_subcommand_from init' -l add \
    -d 'one more home for the server that is there'
complete -c underpass -n '__fish_seen_subcommand_from init' -l dir -x \
    -a '(__fish_complete_directories)' -d 'where the files are, or shall be'
complete -c underpass -n '__fish_seen_subcommand_from check' -l against -r -d 'what runs now'
complete -c underpass -n '__fish_seen_subcommand_from status' -l json -d 'as a program reads it'
complete -c underpass -n '__fish_seen_subcommand_from status' -l watch -d 'every 2 seconds'
complete -c underpass -n '__fish_seen_subcommand_from status' -s s -l server \
    -d 'the server of a file of both roles'
complete -c underpass -n '__fish_seen_subcommand_from status' -s c -l client \
    -d 'the client of a file of both roles'
complete -c underpass -n '__fish_seen_subcommand_from demo' -l once \
    -d 'end when all has been visited'
