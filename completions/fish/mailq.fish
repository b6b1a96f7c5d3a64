# fish completion for mailq of pymail

complete -c mailq -f
complete -c mailq -s j -d 'one JSON object a line'
complete -c mailq -s v -d ignored
complete -c mailq -l help -d 'show the synopsis'
complete -c mailq -l version -d 'show the version'
