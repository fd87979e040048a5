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
mandir      ?= $(prefix)/share/man
sysconfdir  ?= /etc
systemduserunitdir ?= $(prefix)/lib/systemd/user

ifneq ($(V),1)
Q := @
say = @echo '  $(1)	$(2)';
endif

# ---- what is built from what ------------------------------------------------------------------------------------
COMMON_SRC := $(wildcard lib/common/*.c)
LIB_SRC    := $(wildcard lib/*.c) $(COMMON_SRC)
AGENT_SRC  := $(filter-out agent/main.c %_main.c,$(wildcard agent/*.c $(foreach d,loop server token grant acquire authority store,agent/$(d)/*.c)))
CLI_SRC    := $(wildcard agent/cli/*.c)
UNIT_SRC   := $(wildcard tests/unit/test_*.c)
BENCH_SRC  := $(wildcard tests/bench/*.c)
HEADERS    := $(wildcard lib/*.h lib/common/*.h agent/*.h agent/*/*.h)
ALL_SRC    := $(sort $(LIB_SRC) $(AGENT_SRC) agent/main.c $(CLI_SRC))

objects = $(patsubst %.c,$(BUILD)/%.o,$(1))

LIB_PKGS   := json-c
AGENT_PKGS := libcurl json-c libssl libcrypto
CLI_PKGS   := json-c libqrencode

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
CPPFLAGS_ := -D_GNU_SOURCE -DMLTOKEN_VERSION='"$(VERSION)"' -DMLTOKEN_SYSCONFDIR='"$(sysconfdir)"' -DMLTOKEN_BINDIR='"$(bindir)"' \
             -include lib/common/banned.h -iquote lib/common -iquote lib -iquote agent -MMD -MP $(CPPFLAGS)
CFLAGS_   = -std=gnu11 $(OPTIMISE) -fPIC -fvisibility=hidden $(FLAGS_PROBED) $(if $(WERROR),-Werror) $(CFLAGS)

.PHONY: all unit clean

PROGRAMS  := $(if $(wildcard agent/main.c),$(BUILD)/mltoken-agent) $(if $(CLI_SRC),$(BUILD)/mltoken)
LIBRARIES := $(BUILD)/libmltoken.a $(if $(wildcard lib/mltoken.map),$(BUILD)/libmltoken.so.0 $(BUILD)/mltoken.pc)

all: $(PROGRAMS) $(LIBRARIES)

# each compiler is asked once which flags it knows
$(BUILD)/flags.mk: Makefile
	@mkdir -p $(@D)
	@for flag in $(WARNINGS) $(HARDEN); do \
	    if echo 'int main(void) { return 0; }' | $(CC) -Werror -O2 $$flag -x c - -o $(@D)/probe >/dev/null 2>&1; then \
	        echo "FLAGS_PROBED += $$flag"; fi; done > $@; rm -f $(@D)/probe
ifeq ($(filter clean deps,$(MAKECMDGOALS)),)
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

$(BUILD)/mltoken-agent: $(call objects,agent/main.c) $(BUILD)/agent.a $(call objects,$(COMMON_SRC))
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS))

$(BUILD)/mltoken: $(call objects,$(CLI_SRC)) $(BUILD)/libmltoken.a
	$(call say,LD,$@)$(CC) -pie $(OPTIMISE) $(HARDEN_LD) $(LDFLAGS) -o $@ $^ $(shell $(PKG_CONFIG) --libs $(LIB_PKGS)) $(CLI_LIBS)

# the interface description is compiled in, so that GetInterfaceDescription returns the very file
$(BUILD)/agent/server/description.o: lib/org.mltoken.agent.varlink

# ---- tests -------------------------------------------------------------------------------------------------------
UNIT := $(patsubst tests/unit/%.c,$(BUILD)/unit/%,$(UNIT_SRC))

$(BUILD)/unit/%: tests/unit/%.c $(BUILD)/agent.a $(BUILD)/libmltoken.a
	@mkdir -p $(@D)
	$(call say,LD,$@)$(CC) $(CPPFLAGS_) $(CFLAGS_) $(pkg_cflags) -Wno-missing-prototypes $(HARDEN_LD) -o $@ $< \
	    $(BUILD)/agent.a $(BUILD)/libmltoken.a $(shell $(PKG_CONFIG) --libs $(AGENT_PKGS) cmocka) -lm

unit: $(UNIT)
	$(Q)for t in $(UNIT); do $$t > $$t.log 2>&1 || { cat $$t.log; exit 1; }; done; \
	    cat $(addsuffix .log,$(UNIT)) | sed -n 's/^\[  PASSED  \] \([0-9]*\).*/\1/p' | awk '{n += $$1} END {print "unit: " n " passed, 0 failed"}'

clean:
	rm -rf build build-*

-include $(patsubst %.c,$(BUILD)/%.d,$(ALL_SRC))
