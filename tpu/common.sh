# shellcheck shell=bash
# What the scripts of this folder share: reading options, recipes, and commands that can be shown instead of run.
# Sourced, not run.

DRY_RUN=false
MORE=() # the words after --

fail() {
  echo "error: $*" >&2
  exit 2
}

# The header comment of the calling script, which is its help.
show_help() {
  sed -n '2,/^[^#]/{ /^#/{ s/^# \{0,1\}//; p; }; }' "$0"
}

# parse_options WORD...: reads every option. --help and --dry-run are here; the rest is the script's: its function
# take_option gets the words left, returns 1 for a word it does not know, and sets SHIFTED=2 where it took two.
# What follows -- is kept in MORE.
parse_options() {
  while [[ $# -gt 0 ]]; do
    SHIFTED=1
    case $1 in
      --help | -h)
        show_help
        exit 0
        ;;
      --dry-run) DRY_RUN=true ;;
      --)
        shift
        # shellcheck disable=SC2034 # read by the scripts
        MORE=("$@")
        return
        ;;
      *) take_option "$@" || fail "unknown option '$1'; see --help" ;;
    esac
    shift "$SHIFTED"
  done
}

# require_program NAME HINT: that it is on PATH, unless nothing is to be run.
require_program() {
  $DRY_RUN || command -v "$1" > /dev/null || fail "$1 is not on PATH: $2, or use --dry-run"
}

# quoted WORD...: the words in one line that a shell reads back as they are.
quoted() {
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[-a-zA-Z0-9_./:=@%+,]+$ ]] || word=${word@Q}
    line+="${line:+ }$word"
  done
  echo "$line"
}

# run WORD...: runs a command; with --dry-run prints it, quoted so that it can be pasted.
run() {
  if $DRY_RUN; then quoted "$@"; else "$@"; fi
}

# take_recipe WORD: the one word that is no option. Sets RECIPE.
take_recipe() {
  [[ $1 != -* ]] || return 1
  [[ -z ${RECIPE:-} ]] || fail "two recipes, '$RECIPE' and '$1'; give one"
  RECIPE=$1
}

# require_recipe: that RECIPE is a file of flags/, in the clone's root.
require_recipe() {
  local known='' file
  for file in flags/*.flags; do
    [[ -e $file ]] || continue
    file=${file#flags/}
    known+="${known:+, }${file%.flags}"
  done
  [[ -n ${RECIPE:-} ]] || fail "no recipe; accepted: ${known:-none}"
  [[ $RECIPE =~ ^[a-z0-9_-]+$ && -f flags/$RECIPE.flags ]] || fail "no recipe '$RECIPE'; accepted: ${known:-none}"
}

# tf_config HOST:PORT,HOST:PORT,... INDEX: the TF_CONFIG of one worker of a cluster.
tf_config() {
  local json=\"${1//,/\",\"}\"
  printf '{"cluster":{"worker":[%s]},"task":{"type":"worker","index":%d}}' "$json" "$2"
}
