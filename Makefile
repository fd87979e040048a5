# mltoken: see README.md. Each target does one thing; V=1 shows the commands.
VERSION     := 0.1.0
BUILD       ?= build$(if $(SAN),-$(subst $(comma),-,$(SAN)))
CC          ?= gcc
PYTHON      ?= /usr/bin/python3
PKG_CONFIG  ?= pkg-config
INSTALL     ?= install
comma       := ,

prefix      ?= /usr/local
bindir      ?= $(prefix)/bin
libdir      ?= $(prefix)/lib
libexecdir  ?= $(prefix)/libexec
includedir  ?= $(prefix)/include
pamdir      ?= $(libdir)/security
mandir      ?= $(prefix)/share/man
docdir      ?= $(prefix)/share/doc/mltoken
sysconfdir  ?= /etc
systemduserunitdir ?= $(prefix)/lib/systemd/user
systemdsystemunitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
tmpfilesdir ?= $(prefix)/lib/tmpfiles.d
pamconfigsdir ?= $(prefix)/share/pam-configs
bashcompdir ?= $(prefix)/share/bash-completion/completions
zshcompdir  ?= $(prefix)/share/zsh/site-functions
fishcompdir ?= $(prefix)/share/fish/vendor_completions.d

ifneq ($(V),1)
Q := @
say = @echo '  $(1)	$(2)';
endif

# ---- what is built from what ------------------------------------------------------------------------------------
COMMON_SRC := $(wildcard lib/common/*.c)
LIB_SRC    := $(wildcard lib/*.c) $(COMMON_SRC)
AGENT_SRC  := $(filter-out agent/main.c %_main.c agent/store/sealed% agent/store/keyring%,$(wildcard agent/*.c $(foreach d,loop server token grant acquire authority store login,agent/$(d)/*.c)))
# what each store program is made of, beside its own files
STORE_SRC  := $(COMMON_SRC) agent/hardening.c agent/store/program.c agent/store/protocol.c
SEALED_SRC := $(wildcard agent/store/sealed*.c)
KEYRING_SRC := $(wildcard agent/store/keyring*.c)
CLI_SRC    := $(wildcard agent/cli/*.c)
# the module, which runs inside of others' programs; its two programs have sources of their own
PAM_SRC    := $(filter-out pam/import%,$(wildcard pam/*.c))
PAM_COMMON := $(addprefix lib/common/,base64url.c buffer.c ini.c lines.c text.c)
IMPORT_SRC := $(wildcard pam/import*.c)
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
BENCH_SRC  := $(wildcard tests/bench/*.c)
HEADERS    := $(wildcard lib/*.h lib/common/*.h agent/*.h agent/*/*.h pam/*.h)
ALL_SRC    := $(sort $(LIB_SRC) $(AGENT_SRC) $(SEALED_SRC) $(KEYRING_SRC) $(wildcard agent/*_main.c agent/*/*_main.c) agent/main.c $(CLI_SRC) $(PAM_SRC) $(IMPORT_SRC))

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

LIB_PKGS   := json-c
AGENT_PKGS := libcurl json-c libssl libcrypto libsodium
CLI_PKGS   := json-c libqrencode
FILE_PKGS  := json-c libsodium
KEYRING_PKGS := json-c libsecret-1

# ---- flags -------------------------------------------------------------------------------------------------------
WARNINGS := -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wformat=2 -Wvla -Wstrict-prototypes -Wmissing-prototypes \
            -Wold-style-definition -Wpointer-arith -Wcast-qual -Wwrite-strings -Wundef -Wnull-dereference -Wimplicit-fallthrough \
            -Wswitch-enum -Wlogical-op -Wduplicated-cond -Wduplicated-branches
HARDEN   := -D_FORTIFY_SOURCE=3 -fstack-protector-strong -fstack-clash-protection -fcf-protection=full -ftrivial-auto-var-init=zero \
            -fzero-call-used-regs=used-gpr -fno-delete-null-pointer-checks -fno-strict-overflow -fno-strict-aliasing
HARDEN_LD := -Wl,-z,relro -Wl,-z,now -Wl,-z,noexecstack -Wl,-z,defs -Wl,--as-needed -Wl,-O1
OPTIMISE ?= -O2 -g
ifneq ($(SAN),)
OPTIMISE := -O1 -g -fno-omit-frame-pointer
HARDEN   := -fsanitize=$(SAN) -fno-sanitize-recover=all
HARDEN_LD := -fsanitize=$(SAN)
endif
CPPFLAGS_ := -D_GNU_SOURCE -DMLTOKEN_VERSION='"$(VERSION)"' -DMLTOKEN_SYSCONFDIR='"$(sysconfdir)"' -DMLTOKEN_BINDIR='"$(bindir)"' -DMLTOKEN_LIBEXECDIR='"$(libexecdir)"' \
             -include lib/common/banned.h -iquote lib/common -iquote lib -iquote agent -iquote pam -MMD -MP $(CPPFLAGS)
CFLAGS_   = -std=gnu11 $(OPTIMISE) -fPIC -fvisibility=hidden -ffile-prefix-map=$(CURDIR)=. $(FLAGS_PROBED) $(if $(WERROR),-Werror) $(CFLAGS)

.PHONY: all impatient guest failing install uninstall deps deps-build clean demo check unit lint bench interop machine machine-clean fuzz fuzz-programs torture hardening ci
.DEFAULT_GOAL := all

STORES    := $(patsubst agent/store/%_main.c,$(BUILD)/mltoken-store-%,$(wildcard agent/store/*_main.c))
PAM_MODULE := $(if $(wildcard pam/pam_mltoken.c),$(BUILD)/pam_mltoken.so)
PAM_PROGRAMS := $(if $(wildcard agent/login_main.c),$(BUILD)/mltoken-pam-login) $(if $(IMPORT_SRC),$(BUILD)/mltoken-pam-import)
PROGRAMS  := $(BUILD)/mltoken-agent $(BUILD)/mltoken-agent-main $(if $(CLI_SRC),$(BUILD)/mltoken) $(STORES) $(PAM_PROGRAMS)
LIBRARIES := $(BUILD)/libmltoken.a $(if $(wildcard lib/mltoken.map),$(BUILD)/libmltoken.so.0 $(BUILD)/mltoken.pc)

all: $(PROGRAMS) $(LIBRARIES) $(PAM_MODULE)

# each compiler is asked once which flags it knows
$(BUILD)/flags.mk: Makefile
	@mkdir -p $(@D)
	@for flag in $(WARNINGS) $(HARDEN); do \
	    if echo 'int main(void) { return 0; }' | $(CC) -Werror -O2 $$flag -x c - -o $(@D)/probe >/dev/null 2>&1; then \
	        echo "FLAGS_PROBED += $$flag"; fi; done > $@; rm -f $(@D)/probe
# these install what they need before anything is compiled
WRAPPERS := deps deps-build clean demo check lint bench interop machine machine-clean fuzz torture hardening ci
ifneq ($(filter-out $(WRAPPERS),$(or $(MAKECMDGOALS),all)),)
include $(BUILD)/flags.mk
endif

pkg_cflags := $(shell $(PKG_CONFIG) --cflags $(AGENT_PKGS) $(CLI_PKGS) 2>/dev/null)

$(BUILD)/%.o: %.c $(BUILD)/flags.mk
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS_) $(CFLAGS_) $(pkg_cflags) -c $< -o $@

$(BUILD)/libmltoken.a: $(call objects,$(LIB_SRC))
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/agent.a: $(call objects,$(AGENT_SRC))
	$(call say,AR,$@)rm -f $@ && $(AR) rcs $@ $^

$(BUILD)/libmltoken.so.0: $(call objects,$(LIB_SRC)) lib/mltoken.map
	$(call say,LD,$@)$(CC) -shared $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -Wl,-soname,libmltoken.so.0 -Wl,--version-script=lib/mltoken.map \
	    -o $@ $(filter %.o,$^) $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))
	$(Q)ln -sf libmltoken.so.0 $(BUILD)/libmltoken.so

$(BUILD)/mltoken.pc: lib/mltoken.pc.in Makefile
	$(call say,GEN,$@)sed -e 's|@prefix@|$(prefix)|' -e 's|@libdir@|$(libdir)|' -e 's|@includedir@|$(includedir)|' -e 's|@version@|$(VERSION)|' $< > $@

# linked with libc alone: agent/prepare.h says why
$(BUILD)/mltoken-agent: $(call objects,agent/first_main.c) $(BUILD)/agent.a $(call objects,$(addprefix lib/common/,buffer.c ini.c socket_path.c text.c))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^

$(BUILD)/mltoken-agent-main: $(call objects,agent/main.c) $(BUILD)/agent.a $(call objects,$(COMMON_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS))

$(BUILD)/mltoken-store-file: $(call objects,agent/store/file_main.c $(SEALED_SRC) $(STORE_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(FILE_PKGS))

$(BUILD)/mltoken-store-keyring: $(call objects,$(KEYRING_SRC) $(STORE_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(KEYRING_PKGS))

# GLib's headers do not hold to our warnings
$(call objects,$(KEYRING_SRC)): pkg_cflags += $(subst -I,-isystem ,$(shell $(PKG_CONFIG) --cflags $(KEYRING_PKGS) 2>/dev/null))

# what the PAM module reads is read by its own readers in `mltoken doctor --pam`
DOCTOR_SRC := $(addprefix pam/,settings.c trusted.c mapping.c)

$(BUILD)/mltoken: $(call objects,$(CLI_SRC) $(DOCTOR_SRC)) $(BUILD)/libmltoken.a
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CLI_LIBS)

# linked with libpam and libc alone: it is a guest in sshd, su and login
$(BUILD)/pam_mltoken.so: $(call objects,$(PAM_SRC) $(PAM_COMMON))
	$(call say,LD,$@)$(CC) -shared $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ -lpam

$(BUILD)/mltoken-pam-login: $(call objects,agent/login_main.c) $(BUILD)/agent.a $(call objects,$(COMMON_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS))

$(BUILD)/mltoken-pam-import: $(call objects,$(IMPORT_SRC)) $(BUILD)/libmltoken.a
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(LIB_PKGS))

# the interface description is compiled in, so that GetInterfaceDescription returns the very file
$(BUILD)/agent/server/description.o: lib/org.mltoken.agent.varlink

# ---- tests -------------------------------------------------------------------------------------------------------
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/agent.a $(BUILD)/libmltoken.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS_) $(CFLAGS_) $(pkg_cflags) -Wno-missing-prototypes $(HARDEN_LD) -o $@ $< \
	    $(UNIT_MORE) $(BUILD)/agent.a $(BUILD)/libmltoken.a $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS) cmocka) -lm

$(BUILD)/unit/test_sealed: UNIT_MORE = $(call objects,$(SEALED_SRC))
$(BUILD)/unit/test_sealed: $(call objects,$(SEALED_SRC))

PAM_UNIT := $(filter $(BUILD)/unit/test_pam_%,$(UNIT))
$(PAM_UNIT): UNIT_MORE = $(call objects,$(PAM_SRC)) -lpam
$(PAM_UNIT): $(call objects,$(PAM_SRC))

# it includes these
$(BUILD)/unit/test_cli: $(CLI_SRC)

unit: $(UNIT)

# an agent that gives up after seconds where the other waits for minutes; tests copy it
IMPATIENT := $(patsubst %,$(BUILD)/impatient/%.o,store/process store/lock_on grant/managed_identity grant/identity_answer)

$(IMPATIENT): $(BUILD)/impatient/%.o: agent/%.c tests/system/impatient.h $(BUILD)/flags.mk
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) $(CPPFLAGS_) -include tests/system/impatient.h $(CFLAGS_) -c $< -o $@

$(BUILD)/impatient/mltoken-agent-main: $(call objects,agent/main.c) $(IMPATIENT) $(BUILD)/agent.a $(call objects,$(COMMON_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS))

impatient: $(BUILD)/impatient/mltoken-agent-main

# an application that looks at itself before and after each phase of PAM, and whose calls fail when they are told to
$(BUILD)/pam_guest: tests/system/pam_guest.c tests/system/failing_calls.h $(BUILD)/flags.mk
	$(call say,LD,$@)$(CC) -D_GNU_SOURCE -std=gnu11 -O1 -g -Wall -Wextra -Wno-stringop-truncation -rdynamic \
	    $(if $(SAN),-fsanitize=$(SAN) -fno-sanitize-recover=all -DWITHOUT_MALLOC) -o $@ $< -lpam -ldl

guest: $(BUILD)/pam_guest failing

# an agent and mltoken-pam-import whose calls fail when they are told to
FAILING := $(BUILD)/failing/mltoken-agent-main $(BUILD)/failing/mltoken-pam-import

$(BUILD)/failing/failing_calls.o: tests/system/failing_calls.c tests/system/failing_calls.h $(BUILD)/flags.mk
	@mkdir -p $(@D)
	$(call say,CC,$<)$(CC) -D_GNU_SOURCE -std=gnu11 -O1 -g -Wall -Wextra $(if $(SAN),-DWITHOUT_MALLOC) -c $< -o $@

$(BUILD)/failing/mltoken-agent-main: $(call objects,agent/main.c) $(BUILD)/failing/failing_calls.o $(BUILD)/agent.a $(call objects,$(COMMON_SRC))
	$(call say,LD,$@)$(CC) -pie -rdynamic $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS)) -ldl

$(BUILD)/failing/mltoken-pam-import: $(call objects,$(IMPORT_SRC)) $(BUILD)/failing/failing_calls.o $(BUILD)/libmltoken.a
	$(call say,LD,$@)$(CC) -pie -rdynamic $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) -ldl

failing: $(FAILING)

# ---- the targets of people ---------------------------------------------------------------------------------------
DEPS_BUILD   := gcc libc6-dev make pkg-config libcurl4-openssl-dev libjson-c-dev libssl-dev libqrencode-dev libsodium-dev \
                libsecret-1-dev libpam0g-dev ca-certificates python3 openssl
DEPS_TEST    := libcmocka-dev python3-pytest python3-pytest-xdist python3-pexpect jose curl strace iproute2 procps systemd libasan8 libubsan1 \
                util-linux gnome-keyring dbus-daemon libsecret-tools python3-gi gir1.2-gcr-3 pinentry-tty pinentry-curses pamtester libpam-wrapper openssh-server sudo
DEPS_LINT    := clang clang-format clang-tidy cppcheck shellcheck mandoc systemd g++
DEPS_FUZZ    := clang libclang-rt-14-dev
# dbconfig-sqlite3: the first that glewlwyd would take otherwise brings a MySQL client. npm may be there from elsewhere.
DEPS_INTEROP  = glewlwyd dbconfig-sqlite3 curl python3-msal $(if $(shell command -v npm 2>/dev/null),,nodejs npm)
DEPS_BENCH   := oidc-agent-cli gnome-keyring dbus-daemon python3-gi gir1.2-gcr-3
DEPS_MACHINE := systemd-container mmdebstrap python3-pytest python3-pexpect util-linux procps openssl glewlwyd dbconfig-sqlite3
DEPS         ?= $(DEPS_BUILD) $(DEPS_TEST) $(DEPS_LINT) $(DEPS_FUZZ) $(DEPS_INTEROP) $(DEPS_BENCH)
SUDO         ?= $(if $(filter 0,$(shell id -u)),,sudo)

# installs what is missing on a Debian, and asks nothing
deps:
	@missing=; for package in $(sort $(DEPS)); do \
	    dpkg-query -W -f '$${db:Status-Status}' $$package 2>/dev/null | grep -qx installed || missing="$$missing $$package"; done; \
	[ -z "$$missing" ] || { echo "  APT	$$missing"; $(SUDO) apt-get -qq update && \
	    $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $$missing >/dev/null; }

demo:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD)"
	@$(MAKE) --no-print-directory -j2 all
	@MLTOKEN_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/demo/demo.py

check:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_TEST)"
	@$(MAKE) --no-print-directory -j2 all unit impatient guest
	@MLTOKEN_BUILD=$(abspath $(BUILD)) MLTOKEN_SAN=$(SAN) $(PYTHON) tests/check.py $(CHECK)

# kill -9 at every call of a rotation, and at so many random instants: prints what each cost
KILLS ?= 500
torture:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_TEST)"
	@$(MAKE) --no-print-directory -j2 all
	@MLTOKEN_BUILD=$(abspath $(BUILD)) MLTOKEN_KILLS=$(KILLS) $(PYTHON) -m pytest -q -s -p no:cacheprovider -k kill \
	    tests/system/test_rotation_kill.py tests/system/test_store_file_kill.py

interop:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_TEST) $(DEPS_INTEROP)"
	@$(MAKE) --no-print-directory -j2 all
	@MLTOKEN_BUILD=$(abspath $(BUILD)) INTEROP_BUILD=$(abspath $(BUILD))/interop $(PYTHON) -m pytest -q -p no:cacheprovider tests/interop

# a booted Debian, as root, with what a package would bring: paths below /usr are compiled in. Its tree is kept in
# $$MACHINE_CACHE, which machine-clean removes
MACHINE_CACHE ?= /var/cache/mltoken-machine
export MACHINE_CACHE
machine:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_MACHINE)"
	@$(MAKE) --no-print-directory -j2 all BUILD=$(abspath $(BUILD))/package prefix=/usr
	@MLTOKEN_BUILD=$(abspath $(BUILD))/package $(PYTHON) tests/machine/run.py $(MACHINE)

machine-clean:
	@$(PYTHON) tests/machine/run.py --clean

bench:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_BENCH)"
	@$(MAKE) --no-print-directory -j2 all $(patsubst tests/bench/%.c,$(BUILD)/bench/%,$(BENCH_SRC))
	@MLTOKEN_BUILD=$(abspath $(BUILD)) $(PYTHON) tests/bench/run.py $(BENCH)

lint:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_TEST) $(DEPS_LINT)"
	@$(MAKE) --no-print-directory -j2 all WERROR=1
	@MLTOKEN_BUILD=$(abspath $(BUILD)) tests/lint/run.sh

SECS ?= 60
fuzz:
	@$(MAKE) --no-print-directory deps DEPS="$(DEPS_BUILD) $(DEPS_FUZZ)"
	@tests/fuzz/run.sh $(SECS)

FUZZ := $(patsubst tests/fuzz/%.c,$(BUILD)/fuzz/%,$(wildcard tests/fuzz/fuzz_*.c))

$(BUILD)/fuzz/%: tests/fuzz/%.c $(BUILD)/agent.a $(BUILD)/libmltoken.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS_) $(CFLAGS_) -fsanitize=fuzzer $(pkg_cflags) -o $@ $< $(FUZZ_MORE) $(BUILD)/agent.a \
	    $(BUILD)/libmltoken.a $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS))

$(BUILD)/fuzz/fuzz_sealed: FUZZ_MORE = $(call objects,$(SEALED_SRC))
$(BUILD)/fuzz/fuzz_sealed: $(call objects,$(SEALED_SRC))
$(BUILD)/fuzz/fuzz_import_record: FUZZ_MORE = $(call objects,pam/import_record.c)
$(BUILD)/fuzz/fuzz_import_record: $(call objects,pam/import_record.c)

$(BUILD)/fuzz/fuzz_pam_login: FUZZ_MORE = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc

$(BUILD)/fuzz/fuzz_map: FUZZ_MORE = $(call objects,$(PAM_SRC)) -lpam
$(BUILD)/fuzz/fuzz_map: $(call objects,$(PAM_SRC))

# by tests/fuzz/run.sh, with the compiler and the sanitizers that this needs
fuzz-programs: $(FUZZ)

# what the programs were linked with
hardening:
	@$(MAKE) --no-print-directory all
	@MLTOKEN_BUILD=$(abspath $(BUILD)) tests/lint/check_hardening.sh

ci:
	@.ci/run

$(BUILD)/bench/%: tests/bench/%.c
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) -D_GNU_SOURCE -std=gnu11 -O2 -g -Wall -Wextra -o $@ $<

# ---- installing --------------------------------------------------------------------------------------------------
MAN := $(wildcard lib/man/*.[1-8])
UNITS := mltoken-agent.socket mltoken-agent.service
SYSTEM_UNITS := mltoken-agent@.service
EXAMPLES := $(docdir)/examples
PAM_EXAMPLES := pam.conf pam.map pam.d-sshd sshd_config.d-mltoken.conf
INSTALLED = $(addprefix $(bindir)/,mltoken mltoken-agent) $(addprefix $(libexecdir)/mltoken/,mltoken-agent-main $(notdir $(STORES) $(PAM_PROGRAMS))) $(addprefix $(pamdir)/,$(notdir $(PAM_MODULE))) $(includedir)/mltoken.h \
    $(addprefix $(libdir)/,libmltoken.so.0 libmltoken.so libmltoken.a pkgconfig/mltoken.pc) \
    $(foreach page,$(MAN),$(mandir)/man$(subst .,,$(suffix $(page)))/$(notdir $(page))) $(addprefix $(systemduserunitdir)/,$(UNITS)) $(addprefix $(systemdsystemunitdir)/,$(SYSTEM_UNITS)) \
    $(bashcompdir)/mltoken $(zshcompdir)/_mltoken $(fishcompdir)/mltoken.fish $(EXAMPLES)/sandbox.conf \
    $(sysusersdir)/mltoken.conf $(tmpfilesdir)/mltoken.conf $(pamconfigsdir)/mltoken $(addprefix $(EXAMPLES)/,$(PAM_EXAMPLES))

# several may install what one has built, each to a place of its own
install_units = for unit in $(1); do \
	    sed -e 's|@bindir@|$(bindir)|g' -e 's|@sysconfdir@|$(sysconfdir)|g' systemd/$$unit.in | \
	    $(INSTALL) -m 644 /dev/stdin $(DESTDIR)$(2)/$$unit || exit 1; done

install: all
	$(Q)$(INSTALL) -d $(addprefix $(DESTDIR),$(sort $(dir $(INSTALLED))))
	$(call say,INSTALL,$(DESTDIR)$(bindir))$(INSTALL) -m 755 $(BUILD)/mltoken $(BUILD)/mltoken-agent $(DESTDIR)$(bindir)
	$(call say,INSTALL,$(DESTDIR)$(libexecdir))$(INSTALL) -m 755 $(BUILD)/mltoken-agent-main $(STORES) $(PAM_PROGRAMS) $(DESTDIR)$(libexecdir)/mltoken
	$(if $(PAM_MODULE),$(Q)$(INSTALL) -m 644 $(PAM_MODULE) $(DESTDIR)$(pamdir))
	$(call say,INSTALL,$(DESTDIR)$(libdir))$(INSTALL) -m 644 $(BUILD)/libmltoken.so.0 $(BUILD)/libmltoken.a $(DESTDIR)$(libdir)
	$(Q)ln -sf libmltoken.so.0 $(DESTDIR)$(libdir)/libmltoken.so
	$(Q)$(INSTALL) -m 644 $(BUILD)/mltoken.pc $(DESTDIR)$(libdir)/pkgconfig
	$(call say,INSTALL,$(DESTDIR)$(includedir))$(INSTALL) -m 644 lib/mltoken.h $(DESTDIR)$(includedir)
	$(call say,INSTALL,$(DESTDIR)$(mandir))for page in $(MAN); do \
	    $(INSTALL) -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.} || exit 1; done
	$(call say,INSTALL,$(DESTDIR)$(systemduserunitdir))$(call install_units,$(UNITS),$(systemduserunitdir))
	$(call say,INSTALL,$(DESTDIR)$(systemdsystemunitdir))$(call install_units,$(SYSTEM_UNITS),$(systemdsystemunitdir))
	$(call say,INSTALL,$(DESTDIR)$(EXAMPLES))$(INSTALL) -m 644 systemd/mltoken-agent.service.d/sandbox.conf $(DESTDIR)$(EXAMPLES)
	$(call say,INSTALL,$(DESTDIR)$(pamconfigsdir))$(INSTALL) -m 644 pam/examples/pam-config $(DESTDIR)$(pamconfigsdir)/mltoken
	$(Q)$(INSTALL) -m 644 systemd/sysusers.d/mltoken.conf $(DESTDIR)$(sysusersdir)/mltoken.conf
	$(Q)sed -e 's|@sysconfdir@|$(sysconfdir)|g' systemd/tmpfiles.d/mltoken.conf | \
	    $(INSTALL) -m 644 /dev/stdin $(DESTDIR)$(tmpfilesdir)/mltoken.conf
	$(Q)for example in $(PAM_EXAMPLES); do \
	    sed -e 's|/usr/libexec/mltoken/|$(libexecdir)/mltoken/|' -e 's|/etc/mltoken/|$(sysconfdir)/mltoken/|g' pam/examples/$$example | \
	    $(INSTALL) -m 644 /dev/stdin $(DESTDIR)$(EXAMPLES)/$$example || exit 1; done
	$(call say,INSTALL,completions)$(INSTALL) -m 644 lib/completions/mltoken.bash $(DESTDIR)$(bashcompdir)/mltoken
	$(Q)$(INSTALL) -m 644 lib/completions/mltoken.zsh $(DESTDIR)$(zshcompdir)/_mltoken
	$(Q)$(INSTALL) -m 644 lib/completions/mltoken.fish $(DESTDIR)$(fishcompdir)/mltoken.fish

# what we put there, and the folders that are ours alone
uninstall:
	$(call say,REMOVE,$(words $(INSTALLED)) files)rm -f $(addprefix $(DESTDIR),$(INSTALLED))
	$(Q)for folder in $(EXAMPLES) $(docdir) $(libexecdir)/mltoken; do rmdir $(DESTDIR)$$folder 2>/dev/null || :; done
	@echo "Left as they are: $(sysconfdir)/mltoken, and each user's ~/.config/mltoken (settings) and ~/.local/state/mltoken (secrets that outlive the agent)."

clean:
	rm -rf build build-*

-include $(patsubst %.c,$(BUILD)/%.d,$(ALL_SRC)) $(IMPATIENT:.o=.d)
