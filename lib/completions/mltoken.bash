# bash completion for mltoken(1)

_mltoken_profiles() {
    local file
    for file in /etc/mltoken/config "$(mltoken config path 2>/dev/null)"; do
        [ -r "$file" ] && sed -n 's/^[[:blank:]]*\[[[:blank:]]*profile[[:blank:]]\{1,\}\([A-Za-z0-9._-]*\)[[:blank:]]*\].*/\1/p' "$file"
    done
}

_mltoken() {
    local current=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]} command='' i
    local options='--json --quiet --socket --help'
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        case ${COMP_WORDS[i]} in
        --socket) ((i++)) ;;
        -*) ;;
        *)
            command=${COMP_WORDS[i]}
            break
            ;;
        esac
    done
    case $before in
    --socket)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --profile)
        mapfile -t COMPREPLY < <(compgen -W "$(_mltoken_profiles)" -- "$current")
        return
        ;;
    --grant)
        mapfile -t COMPREPLY < <(compgen -W 'authorization_code azure_key azureml_key azureml_token client_credentials device_code jwt_bearer managed_identity mlserver on_behalf_of password static token_exchange' -- "$current")
        return
        ;;
    --from)
        mapfile -t COMPREPLY < <(compgen -W "$(mltoken config new --list 2>/dev/null | sed 's/ .*//' | sort -u)" -- "$current")
        return
        ;;
    --user)
        mapfile -t COMPREPLY < <(compgen -u -- "$current")
        return
        ;;
    --client-certificate | --client-key | --client-assertion-file | --root)
        mapfile -t COMPREPLY < <(compgen -f -- "$current")
        return
        ;;
    --scope | --resource | --audience | --claims | --min-valid | --timeout | --env | --authority | --client-id | --client-secret | --since | -n | --tenant | --policy | --username | --password | --token | --expires | --header)
        return
        ;;
    esac
    case $command in
    '')
        mapfile -t COMPREPLY < <(compgen -W "get login logout status show verify secret rotate lock unlock exec config log doctor $options --version" -- "$current")
        return
        ;;
    get) options+=' --scope --resource --audience --claims --min-valid --refresh --login --timeout --header --curl' ;;
    login) options+=' --no-qr --browser --no-browser --claims --policy --switch-account' ;;
    logout) options+=' --all' ;;
    show) options+=' --remote' ;;
    verify) options+=' --profile --audience' ;;
    exec) options+=' --env' ;;
    unlock) options+=' --new' ;;
    doctor) options+=' --pam --user --root' ;;
    log) options+=' --since -n' ;;
    secret)
        if ((COMP_CWORD == i + 1)); then
            mapfile -t COMPREPLY < <(compgen -W 'set clear list move' -- "$current")
            return
        fi
        ;;
    config)
        if ((COMP_CWORD == i + 1)); then
            mapfile -t COMPREPLY < <(compgen -W 'new import-mlserver check path' -- "$current")
            return
        fi
        case ${COMP_WORDS[i + 1]} in
        new)
            options+=' --from --list --profile --grant --authority --tenant --policy --client-id --client-secret --client-certificate'
            options+=' --client-key --client-assertion-file --username --password --token --expires --resource --scope --header'
            ;;
        import-mlserver) options+=' --profile --grant --password' ;;
        check)
            mapfile -t COMPREPLY < <(compgen -f -- "$current")
            return
            ;;
        esac
        ;;
    esac
    if [[ $current == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$current")
    elif [[ $command != verify && $command != config && $command != lock && $command != unlock ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$(_mltoken_profiles)" -- "$current")
    fi
}

complete -F _mltoken mltoken
