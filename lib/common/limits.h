/* Every limit of mltoken, by name. All sizes are bytes and exclude a terminator, all times say their unit.
 * tests/ hold each at max-1, max and max+1. */
#pragma once

/* the socket (INTERFACE section 5) */
#define LIMIT_REQUEST       (64 * 1024)  /* a whole call, without its NUL */
#define LIMIT_REQUEST_DEPTH 8            /* nested objects and arrays in a call */
#define LIMIT_REQUEST_MS    5000         /* from its first byte to its last */
#define LIMIT_REPLY         (256 * 1024) /* a whole reply, without its NUL */
#define LIMIT_REPLY_DEPTH   16
#define LIMIT_REPLY_MS      30000 /* a client that does not read its reply is dropped */
#define LIMIT_CONNECTIONS   16384 /* further clients wait in the listen queue */
#define LIMIT_RESERVE       256   /* descriptors that are no client's; half of all when there are few */
#define LIMIT_ACCEPTS       64    /* connections taken per wake-up */
#define LIMIT_TURN_CALLS    16    /* cached answers to one connection before others have their turn */
#define LIMIT_TURN_PROFILES 64    /* of one List */
#define LIMIT_BACKLOG       4096
#define LIMIT_WATCHES       256 /* connections that follow a token */

#define LIMIT_SERVICE_ACCOUNTS 4096 /* entries of /run/mltoken looked at for our own */

/* names and texts */
#define LIMIT_PROFILE_NAME 64
#define LIMIT_PROFILES     65536
#define LIMIT_APPLICATION  64
#define LIMIT_SCOPES       64  /* scopes in one request */
#define LIMIT_SCOPE        512 /* one scope */
#define LIMIT_URL          2048
#define LIMIT_CLAIMS       8192 /* a claims parameter */
#define LIMIT_CHALLENGE    1024 /* claims that an authority asks a sign-in for */
#define LIMIT_TEXT         512  /* a text of an authority that is shown */
#define LIMIT_CODE         64   /* error codes, correlation ids and the like */
#define LIMIT_ERROR_NAME   128  /* a Varlink error's full name */

/* a sign-in with a browser */
#define LIMIT_AUTHORIZATION 16384       /* the address of the authority's page, with its query */
#define LIMIT_BROWSER_S     600         /* a person's time there */
#define LIMIT_REDIRECT      (32 * 1024) /* what it comes back with, as a query or a whole address */
#define LIMIT_VISIT         (16 * 1024) /* the head of a browser's request: a request line and headers */
#define LIMIT_VISIT_MS      5000
#define LIMIT_VISITORS      16 /* at once; the oldest makes room */
#define LEAST_REDIRECT_PORT 1024

/* the client */
#define LIMIT_CALL_MS          30000 /* default deadline of a call */
#define LIMIT_UPGRADE_MS       10000 /* between two questions to IMDS while it answers 410, for up to 70 s */
#define LIMIT_LOGIN_MS         (30L * 60 * 1000) /* ... of a sign-in */
#define LIMIT_ROTATION_MS      (15L * 60 * 1000) /* ... of a rotation: longer than LIMIT_OPERATION_S */
#define LIMIT_IMPORT_MS        2800              /* what PAM's session waits for; below LIMIT_HANDOFF_END_MS */
#define LIMIT_FRESH_MS         10000             /* a token fetched while a person signs in */
#define LIMIT_CONNECT_PAUSE_MS 20                /* between tries while the agent's queue is full */

/* configuration (INTERFACE section 3) */
#define LIMIT_CONFIG_LINE   4096
#define LIMIT_CONFIG_FILE   (16 * 1024 * 1024)
#define LIMIT_CONFIG_TURN   (64 * 1024) /* of a file, read before others have their turn: a millisecond or two */
#define LIMIT_CONFIG_ERRORS 100         /* errors kept for one file */
#define LIMIT_CONFIG_KEYS   64          /* keys in one profile that the common table does not know */
#define LIMIT_PARENTS       8           /* profiles that one's token is made from, one above the other */
#define LIMIT_HOSTS         32          /* names in endpoint_hosts or verification_hosts */
#define LIMIT_HOST          253         /* one of them */
#define LIMIT_COMMAND_WORDS 64          /* words of a command: source */
#define LIMIT_ENV_NAME      128         /* name of an env: source */
#define LIMIT_ENV_VALUE     4096        /* a variable of the caller that the agent keeps */
#define LIMIT_ENV_NAMES     256         /* env: names of one configuration */
#define LIMIT_GRANT_ENV     32          /* variables that grants look at */
#define LIMIT_CLIENT_ID     512
#define LIMIT_USERNAME      255
#define LIMIT_TIMEOUT_S     300
#define LIMIT_HEADER        1024 /* the template of a header line */
#define LIMIT_PROBLEM       2048 /* one message about the configuration */
#define LIMIT_PROFILE_HINT  640  /* storage that an ordinary profile needs */

/* the process */
#define LIMIT_DESCRIPTORS 65536 /* of RLIMIT_NOFILE, when the hard limit allows */

/* logging */
#define LIMIT_LOG_VALUE 1024        /* one value */
#define LIMIT_LOG_LINE  (16 * 1024) /* one event; a longer one is dropped */

/* who may have a token */
#define LIMIT_ALLOW      16    /* programs in one profile's allow */
#define LIMIT_LOOKS      16    /* clients whose program is being compared; others wait in line */
#define LIMIT_QUESTIONS  64    /* requests that wait for a person */
#define LIMIT_CONFIRM_S  60    /* a person's time for one */
#define LIMIT_CONFIRM_MS 65000 /* the same for the program that asks */
#define LIMIT_DENIALS    64    /* profiles whose denial is remembered */
#define LIMIT_DENIAL_MS  60000
#define LIMIT_PINENTRY   (64 * 1024) /* all that a pinentry may say */
#define LIMIT_COMPARE_MS 10000       /* looking at what a client runs */

/* the audit */
#define LIMIT_AUDIT_RECORDS    1024  /* uses of a profile by a process that are remembered */
#define LIMIT_AUDIT_EXECUTABLE 1023  /* a longer path is cut */
#define LIMIT_AUDIT_MS         60000 /* repeats are told so often */

/* secrets */
#define LIMIT_SECRET       (64 * 1024) /* one secret: a refresh token, a password */
#define LIMIT_ARENA        (4 * 1024 * 1024)
#define LIMIT_COMMAND_MS   10000       /* command: and file: sources */
#define LIMIT_PASSPHRASE   1024        /* of lock and unlock */
#define LIMIT_DERIVE_MS    300000      /* Argon2id, on a host that has other things to do */
#define LIMIT_JOBS         64          /* programs and file readers at once */
#define LIMIT_PROGRAMS     48          /* of these: programs that hang must leave room for the readers of files */
#define LIMIT_JOB_INPUT    (64 * 1024) /* that a program has not read yet */
#define LIMIT_JOB_GRACE_MS 2000        /* from the polite end of a program that is talked with to the other one */

/* stores */
#define LIMIT_END_MS        5000  /* an agent that is asked to end waits for the renewal under way */
#define LIMIT_OWNER         63    /* who renews a sign-in, as a text */
#define LIMIT_RENEWAL_MS    45000 /* another agent's renewal: its exchange, and keeping what came */
#define LODGING_LOOK_MS     10000 /* how often a locked store is tried that a sign-in waits for */
#define RENEWAL_LOOK_MS     100   /* how often the store is looked at meanwhile */
#define LIMIT_STORE_FRAME   (LIMIT_SECRET + 8192)
#define LIMIT_STORE_MS      10000  /* a store's answer */
#define LIMIT_STORE_WAIT_MS 120000 /* the same while it waits for a person */
#define LIMIT_STORE_HUSH_MS 5000   /* a person who was asked in vain is left in peace that long */
#define LIMIT_STORE_SAID    200    /* lines of a store program's standard error that are logged ... */
#define LIMIT_STORE_SAID_MS 10000  /* ... in that time */
#define LIMIT_SECRET_NAME   32     /* "refresh_token", "client_secret" */
#define LIMIT_STORE_SECRETS 32     /* of one profile in a sealed file */
#define LIMIT_SEALED_FILE   (1024 * 1024)
#define LIMIT_SEALED_STATE  (4 * 1024 * 1024) /* of LIMIT_PROFILES and more */
#define LIMIT_STORE_PATH    3072              /* of the folder of sealed files */
#define LIMIT_STORE_KEY     4096              /* a key file or a systemd credential */
#define LIMIT_STORE_LOCK_MS 7000              /* waiting for another agent on the same files; below LIMIT_STORE_MS */
#define LEAST_STORE_KEY     32
#define LIMIT_BINDING       64    /* exactly: hexadecimal digits */
#define LIMIT_STORE_ID      32    /* of a request */
#define LIMIT_STORE_REASON  1024  /* a sentence of a store */
#define LIMIT_LOCK_ON_MS    1000  /* between two times that lock_on locks */
#define LIMIT_PING_MS       60000 /* from one time that lock_on's program is asked whether it is there to the next */
#define LIMIT_STORE_NAME    32    /* "keyring", or of a program that others wrote */

/* authorities */
#define LIMIT_INSPECTION        (64 * 1024)  /* what an authority says of a token */
#define LIMIT_RESPONSE          (512 * 1024) /* a whole response body */
#define LIMIT_RESPONSE_HEADERS  (64 * 1024)
#define LIMIT_RESPONSE_DEPTH    16
#define LIMIT_FORM              (512 * 1024) /* a request body: a refresh token, each byte escaped, and more */
#define LIMIT_TOKEN             (100 * 1024) /* an access token: a reply holds it twice, beside scopes and more */
#define LIMIT_LIFETIME_S        (366L * 24 * 3600)
#define LIMIT_EPOCH_S           253402300799L            /* a time that is believed: the year 9999 */
#define LIMIT_END_S             (100 * LIMIT_LIFETIME_S) /* the farthest end of a token that is told */
#define LIMIT_HTTP_MS           30000                    /* default for one request */
#define LIMIT_HTTP_IN_FLIGHT    1024
#define LIMIT_HTTP_PER_HOST     256   /* of those in flight: a hanging authority must leave room for the others */
#define LIMIT_HTTP_IDLE_MS      30000 /* an unused set of connections is closed */
#define LIMIT_CONNECT_MS        10000
#define LIMIT_RETRY_AFTER_S     3600
#define LIMIT_POLL_INTERVAL_S   60   /* the longest interval between polls that is believed */
#define LIMIT_DEVICE_CODE_S     1800 /* the longest life of a device code that is believed */
#define LIMIT_DEVICE_CODE       8192
#define DEFAULT_POLL_INTERVAL_S 5   /* RFC 8628 section 3.2 */
#define DEFAULT_DEVICE_CODE_S   900 /* the life of a device code whose authority does not say it */
#define LIMIT_JWKS_KEYS         64
#define LIMIT_JWS               (64 * 1024)
#define LIMIT_JWS_HEADER        8192 /* a token's decoded header */
#define LIMIT_KEY_ID            512
#define LEAST_RSA_BITS          2048
#define LIMIT_RSA_BITS          8192
#define LIMIT_RSA_EXPONENT      4   /* bytes: a longer one only makes verification slow */
#define LIMIT_SUBJECT           255 /* OpenID Connect Core section 2 */
#define LIMIT_AUDIENCES         64  /* in one token */
#define LIMIT_LEEWAY_S          600
#define LIMIT_CLAIM_SHOWN       256 /* bytes of a claim in an error */
#define LIMIT_METADATA_AGE_MS   (24L * 3600 * 1000)
#define LIMIT_METADATA_RETRY_MS                                                                                        \
    60000                          /* an unusable document is fetched again, and a missing one looked for, so often */
#define LIMIT_DOCUMENTS       1024 /* metadata documents and key sets kept */
#define LIMIT_JWKS_AGE_MS     (24L * 3600 * 1000)
#define LIMIT_JWKS_REFETCH_MS 60000 /* for an unknown key id, at most so often */

/* operations of Azure Resource Manager that go on behind their answer (WIRE section 4) */
#define LIMIT_OPERATION_S        600 /* then it is given up */
#define DEFAULT_OPERATION_POLL_S 5   /* where no Retry-After says when to look again */

/* Machine Learning Server: what its documentation says of a sign-in (WIRE section 3); its answers do not */
#define MLSERVER_IDLE_S  (14L * 24 * 3600) /* a refresh token that is not used */
#define MLSERVER_CHAIN_S (90L * 24 * 3600) /* from the password to the last renewal */

/* tokens */
#define LIMIT_CACHE_ENTRIES      32768
#define LIMIT_CACHE_PER_PROFILE  128
#define LIMIT_REFUSAL_MS         60000 /* how long a definite refusal is remembered */
#define LIMIT_BACKOFF_FIRST_MS   1000
#define LIMIT_BACKOFF_MS         300000
#define LIMIT_LOGINS             32 /* sign-ins at once */
#define LIMIT_IMPORTS            4  /* that are brought to one profile at once */
#define LIMIT_WAITERS            16384
#define DEFAULT_MIN_VALID_S      300
#define DEFAULT_LIFETIME_S       300  /* of a token whose authority does not say it: asking again costs little */
#define DEFAULT_LIFETIME_ALONE_S 3600 /* the same where asking again takes a person */

/* the PAM module and its programs: lines between them */
#define LIMIT_LINE        (64 * 1024) /* one, without its end */
#define LIMIT_LINE_CHUNK  4096        /* read at once */
#define LIMIT_LINE_FIELDS 512         /* an authority tells of up to 200 groups */
#define LIMIT_LINE_NAME   64

/* the sign-in helper of PAM */
#define LIMIT_LOGIN_WAIT_S   3600 /* --max-wait */
#define LIMIT_LOGIN_CLAIMS   16   /* claims that are told */
#define LIMIT_LOGIN_GROUPS   200  /* groups that are told, and so many roles: with the rest, fields of one line */
#define LIMIT_LOGIN_SAY_MS   5000 /* a module that does not read why there is no sign-in at all */
#define DEFAULT_LOGIN_WAIT_S 100

/* the PAM module itself */
#define LIMIT_PAM_CONFIG         (64 * 1024) /* pam.conf */
#define LIMIT_PAM_MAP            (4 * 1024 * 1024)
#define LIMIT_PAM_MAP_LINE       4096
#define LIMIT_PAM_VALUE          1024 /* one key's */
#define LIMIT_PAM_LIST           32   /* elements of one */
#define LIMIT_PAM_WAIT_S         600
#define LIMIT_PAM_PROMPT         511   /* PAM_MAX_MSG_SIZE, without its NUL */
#define LIMIT_PAM_QUIET_MS       20000 /* without a prompt, which is the only way to see that the person is still there */
#define LIMIT_PAM_SAID           50    /* lines of a helper's standard error that are logged */
#define LIMIT_PAM_GRACE_MS       500   /* for a helper that was told to stop */
#define LIMIT_PAM_END_MS         2000      /* for a helper that has told its result */
#define LIMIT_PAM_PASSWD         (1 << 20) /* one entry of the user database */
#define LIMIT_PAM_ATTEMPTS       64        /* that are counted for one source */
#define LIMIT_PAM_SWEEP          4096      /* files looked at */
#define LIMIT_HANDOFF_MS         300000    /* from auth to open_session */
#define LIMIT_HANDOFF_END_MS     3000      /* giving the tokens to the agent */
#define LIMIT_CACHED_MS          15000     /* asking the agent for a token and looking at it; above LIMIT_FRESH_MS */
#define LIMIT_CACHED_SKEW_S      5         /* between the authority's clock and ours, either way */
#define LIMIT_EXPORT             (16 * 1024)
#define DEFAULT_PAM_WAIT_S       100 /* below the 120 s that sshd gives */
#define DEFAULT_PAM_LOGIN_WAIT_S 50  /* below the 60 s that login gives */
#define DEFAULT_PAM_MIN_UID      1000
