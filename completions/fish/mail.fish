# fish completion for mail and mailx of pymail

for program in mail mailx
    complete -c $program -f -a '(__fish_complete_users)' -d recipient
    complete -c $program -l help -d 'show the synopsis'
    complete -c $program -s V -l version -d 'show the version'
    complete -c $program -s s -l subject -x -d subject
    complete -c $program -s c -x -a '(__fish_complete_users)' -d 'carbon copies'
    complete -c $program -s b -x -a '(__fish_complete_users)' -d 'blind carbon copies'
    complete -c $program -s r -l return-address -x -a '(__fish_complete_users)' -d sender
    complete -c $program -s a -l append -r -F -d 'header, or file to attach'
    complete -c $program -s A -l attach -r -F -d 'file to attach'
    complete -c $program -s M -l content-type -x -a 'text/plain text/html text/markdown' -d 'type of the text'
    complete -c $program -s q -r -F -d 'begin with the text of a file'
    complete -c $program -s E -d 'send nothing when the text is empty'
    complete -c $program -l exec -x -d 'obey a line of ~/.mailrc'
    complete -c $program -s S -x -a 'ask askbcc askcc asksub autoprint autobcc= autocc= cmd= crt= DEAD= dot escape= flipr folder= from= header html_filter= ignore ignoreeof indentprefix= keepsave LISTER= metoo outfolder page prompt= quiet record= replyto= reply-to= save screen= showto sign= Sign= toplines= ttycharset=' -d 'set a variable'
    complete -c $program -s t -l to -d 'take the recipients from the header'
    complete -c $program -s F -d 'keep a copy in a file named after the recipient'
    complete -c $program -s d -l debug -d 'show the message and send nothing'
    complete -c $program -s v -d 'say the queue id'
    complete -c $program -s n -l norc -d 'do not read /etc/mail.rc'
    complete -c $program -s i -l ignore -d 'ignore interrupts'
    complete -c $program -s I -d 'act as if a person typed'
    complete -c $program -s '~' -d 'obey escapes'
    complete -c $program -s e -l exist -d 'say with the status whether there is mail'
    complete -c $program -s H -l headers -d 'list the messages'
    complete -c $program -s f -l file -F -d 'read a Maildir or mbox file'
    complete -c $program -s u -l user -x -a '(__fish_complete_users)' -d 'read the inbox of a user'
    complete -c $program -s N -l nosum -d 'do not list the messages at the beginning'
    complete -c $program -s R -d 'change nothing in the mailbox'
end
