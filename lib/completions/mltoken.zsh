#compdef mltoken
# zsh completion for mltoken(1)

_mltoken_profiles() {
    local -a profiles
    local file
    for file in /etc/mltoken/config "$(mltoken config path 2>/dev/null)"; do
        [[ -r $file ]] && profiles+=(${(f)"$(sed -n 's/^[[:blank:]]*\[[[:blank:]]*profile[[:blank:]]\{1,\}\([A-Za-z0-9._-]*\)[[:blank:]]*\].*/\1/p' $file)"})
    done
    compadd -a profiles
}

_mltoken() {
    local -a global commands
    local context state line
    typeset -A opt_args
    global=('--json[answer in JSON]' '--quiet[nothing but results and errors]' '--socket[socket]:path:_files'
            '(-h --help)'{-h,--help}'[help]')
    commands=('get:print a token' 'login:sign in' 'logout:sign out' 'status:show the agent and its profiles'
              'show:show claims and times' 'verify:check a JWT from standard input' 'secret:keep a secret in the store'
              'rotate:serve the other one of two keys'
              'lock:seal what the agent holds' 'unlock:open what was sealed'
              'exec:run a command with tokens'
              'config:begin, check or find the configuration' 'log:show which programs were handed or denied tokens'
              'doctor:test each link')
    _arguments -C $global '--version[the version]' '1: :->command' '*:: :->rest' && return
    case $state in
    command) _describe command commands ;;
    rest)
        case $words[1] in
        get) _arguments $global '*--scope[scope]:scope' '--resource[resource]:uri' '--audience[audience]:audience' \
            '--claims[claims]:json' '--min-valid[seconds it must live]:seconds' '--refresh[fetch a new one]' \
            '--login[sign in first]' '--timeout[deadline]:seconds' '--header[the header line]' '--curl[for curl -K -]' \
            '1:profile:_mltoken_profiles' ;;
        login) _arguments $global '--no-qr[no QR code]' '--browser[open a browser]' '--no-browser[it is on another machine]' '--claims[what the authority asks for]:json:' '--policy[user flow]:name:' '--switch-account[allow another]' \
            '1:profile:_mltoken_profiles' ;;
        logout) _arguments $global '--all[every profile]' '1:profile:_mltoken_profiles' ;;
        show) _arguments $global '--remote[ask the authority]' '1:profile:_mltoken_profiles' ;;
        doctor) _arguments $global '--pam[look at PAM instead]' '--user[whether this person can come in]:user:_users' '--root[the system below it]:directory:_files -/' '1:profile:_mltoken_profiles' ;;
        status | rotate) _arguments $global '1:profile:_mltoken_profiles' ;;
        log) _arguments $global '--since[from then on]:time' '-n[the last lines]:lines' '1:profile:_mltoken_profiles' ;;
        verify) _arguments $global '--profile[profile]:profile:_mltoken_profiles' '--audience[audience]:audience' ;;
        secret) _arguments $global '1:what:(set clear list move)' '2:profile:_mltoken_profiles' \
            '3:name:(client_secret password token key_password keyring file memory)' ;;
        lock) _arguments $global ;;
        unlock) _arguments $global '--new[set the passphrase of the sealed files]' ;;
        exec) _arguments $global '*--env[variable]:name' '1:profile:_mltoken_profiles' '*::command:_normal' ;;
        config) _arguments $global '1:what:(new import-mlserver check path)' '--profile[name]:name' \
            '--from[system]:system:(azure-openai azureml azure-management entra workload-identity b2c mlserver mlserver-entra keycloak scim)' \
            '--list[print what there is to begin from]' \
            '--grant[grant]:grant:(authorization_code azure_key azureml_key azureml_token client_credentials device_code jwt_bearer managed_identity mlserver on_behalf_of password static token_exchange)' \
            '--authority[issuer]:url' '--tenant[tenant]:tenant' '--policy[user flow]:policy' '--client-id[id]:id' \
            '--client-secret[where it is]:source' '--client-certificate[certificate]:file:_files' \
            '--client-key[key]:file:_files' '--client-assertion-file[assertion]:file:_files' '--username[user]:name' \
            '--password[where it is]:source' '--token[where it is]:source' '--expires[its end]:date' \
            '--resource[resource]:resource' '--scope[scopes]:scopes' '--header[header line]:header' '*:file:_files' ;;
        esac ;;
    esac
}

_mltoken "$@"
