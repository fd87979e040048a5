# fish completion for mltoken(1)

function __mltoken_profiles
    for file in /etc/mltoken/config (mltoken config path 2>/dev/null)
        test -r $file; and string replace -rf '^\s*\[\s*profile\s+([A-Za-z0-9._-]+)\s*\].*' '$1' <$file
    end
end

function __mltoken_in
    __fish_seen_subcommand_from $argv
end

complete -c mltoken -f
complete -c mltoken -l json -d 'answer in JSON'
complete -c mltoken -l quiet -d 'nothing but results and errors'
complete -c mltoken -l socket -rF -d 'the agent\'s socket'
complete -c mltoken -s h -l help -d 'help'
complete -c mltoken -n __fish_use_subcommand -l version -d 'the version'
complete -c mltoken -n __fish_use_subcommand -a get -d 'print a token'
complete -c mltoken -n __fish_use_subcommand -a login -d 'sign in'
complete -c mltoken -n __fish_use_subcommand -a logout -d 'sign out'
complete -c mltoken -n __fish_use_subcommand -a status -d 'show the agent and its profiles'
complete -c mltoken -n __fish_use_subcommand -a show -d 'show a token\'s claims and times'
complete -c mltoken -n __fish_use_subcommand -a verify -d 'check a JWT from standard input'
complete -c mltoken -n __fish_use_subcommand -a secret -d 'keep a secret in the store'
complete -c mltoken -n '__mltoken_in secret' -a 'set clear list move'
complete -c mltoken -n __fish_use_subcommand -a rotate -d 'serve the other one of two keys'
complete -c mltoken -n __fish_use_subcommand -a lock -d 'seal what the agent holds'
complete -c mltoken -n __fish_use_subcommand -a unlock -d 'open what was sealed'
complete -c mltoken -n '__mltoken_in unlock' -l new -d 'set the passphrase of the sealed files'
complete -c mltoken -n __fish_use_subcommand -a exec -d 'run a command with tokens'
complete -c mltoken -n __fish_use_subcommand -a config -d 'begin, check or find the configuration'
complete -c mltoken -n __fish_use_subcommand -a log -d 'show which programs were handed or denied tokens'
complete -c mltoken -n __fish_use_subcommand -a doctor -d 'test each link'
complete -c mltoken -n '__mltoken_in get login logout status show exec log doctor secret rotate' -a '(__mltoken_profiles)'
complete -c mltoken -n '__mltoken_in get' -l scope -x -d 'ask for this scope'
complete -c mltoken -n '__mltoken_in get' -l resource -x -d 'the resource the token is for'
complete -c mltoken -n '__mltoken_in get verify' -l audience -x -d 'the audience'
complete -c mltoken -n '__mltoken_in get' -l claims -x -d 'the claims parameter'
complete -c mltoken -n '__mltoken_in get' -l min-valid -x -d 'seconds it must still live'
complete -c mltoken -n '__mltoken_in get' -l refresh -d 'fetch a new one now'
complete -c mltoken -n '__mltoken_in get' -l login -d 'sign in first if need be'
complete -c mltoken -n '__mltoken_in get' -l timeout -x -d 'seconds'
complete -c mltoken -n '__mltoken_in get' -l header -d 'the whole header line'
complete -c mltoken -n '__mltoken_in get' -l curl -d 'a configuration for curl -K -'
complete -c mltoken -n '__mltoken_in login' -l no-qr -d 'no QR code'
complete -c mltoken -n '__mltoken_in login' -l browser -d 'open a browser'
complete -c mltoken -n '__mltoken_in login' -l no-browser -d 'it is on another machine'
complete -c mltoken -n '__mltoken_in login' -l claims -x -d 'what the authority asks for'
complete -c mltoken -n '__mltoken_in login' -l policy -x -d 'user flow of Azure AD B2C'
complete -c mltoken -n '__mltoken_in login' -l switch-account -d 'allow another account'
complete -c mltoken -n '__mltoken_in logout' -l all -d 'every profile'
complete -c mltoken -n '__mltoken_in show' -l remote -d 'ask the authority'
complete -c mltoken -n '__mltoken_in verify' -l profile -x -a '(__mltoken_profiles)' -d 'whose authority'
complete -c mltoken -n '__mltoken_in exec' -l env -x -d 'NAME or NAME=PROFILE'
complete -c mltoken -n '__mltoken_in doctor' -l pam -d 'look at PAM instead'
complete -c mltoken -n '__mltoken_in doctor' -l user -x -a '(__fish_complete_users)' -d 'whether this person can come in'
complete -c mltoken -n '__mltoken_in doctor' -l root -x -a '(__fish_complete_directories)' -d 'the system below it'
complete -c mltoken -n '__mltoken_in log' -l since -x -d 'from then on'
complete -c mltoken -n '__mltoken_in log' -s n -x -d 'the last lines'
complete -c mltoken -n '__mltoken_in config' -a 'new import-mlserver check path'
complete -c mltoken -n '__mltoken_in new' -l grant -x -a 'authorization_code azure_key azureml_key azureml_token client_credentials device_code jwt_bearer managed_identity mlserver on_behalf_of password static token_exchange'
complete -c mltoken -n '__mltoken_in new' -l from -x -a "(mltoken config new --list 2>/dev/null | string replace -r ' .*' '')"
complete -c mltoken -n '__mltoken_in new' -l list -d 'print what there is to begin from'
for option in profile authority tenant policy client-id scope client-secret username password token expires resource header
    complete -c mltoken -n '__mltoken_in new' -l $option -x
end
for option in client-certificate client-key client-assertion-file
    complete -c mltoken -n '__mltoken_in new' -l $option -rF
end
