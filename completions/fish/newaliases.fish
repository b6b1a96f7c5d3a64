# fish completion for newaliases of pymail

complete -c newaliases -s h -l help -d 'show the synopsis'
complete -c newaliases -s V -l version -d 'show the version'
complete -c newaliases -s v -d ignored
