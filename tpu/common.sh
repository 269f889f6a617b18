# shellcheck shell=bash
# What the scripts of this folder share: the options that name a TPU VM, and commands that can be shown instead of run.
# Sourced, not run.

TPU_NAME=${TPU_NAME:-}
TPU_ZONE=${TPU_ZONE:-}
TPU_PROJECT=${TPU_PROJECT:-}
DRY_RUN=false

fail() {
  echo "error: $*" >&2
  exit 2
}

# The header comment of the calling script, which is its help.
show_help() {
  sed -n '2,/^[^#]/{ /^#/{ s/^# \{0,1\}//; p; }; }' "$0"
}

# take_common_option OPTION...: reads one option every script has. SHIFTED is how many words it took; 0: not one of them.
# Read by the scripts that source this file.
# shellcheck disable=SC2034
take_common_option() {
  SHIFTED=1
  case $1 in
    --help | -h)
      show_help
      exit 0
      ;;
    --dry-run) DRY_RUN=true ;;
    --name=*) TPU_NAME=${1#*=} ;;
    --zone=*) TPU_ZONE=${1#*=} ;;
    --project=*) TPU_PROJECT=${1#*=} ;;
    --name | --zone | --project)
      [[ $# -ge 2 ]] || fail "$1 needs a value, as in $1=VALUE"
      case $1 in
        --name) TPU_NAME=$2 ;;
        --zone) TPU_ZONE=$2 ;;
        --project) TPU_PROJECT=$2 ;;
      esac
      SHIFTED=2
      ;;
    *) SHIFTED=0 ;;
  esac
}

require_common() {
  [[ -n $TPU_NAME ]] || fail "no TPU name: give --name=NAME or set TPU_NAME"
  [[ -n $TPU_ZONE ]] || fail "no zone: give --zone=ZONE or set TPU_ZONE (as in us-central1-a)"
  [[ -n $TPU_PROJECT ]] || fail "no project: give --project=PROJECT or set TPU_PROJECT"
  [[ $TPU_NAME =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
    fail "the TPU name '$TPU_NAME' is not made of lower-case letters, digits and hyphens, a letter first"
  if ! $DRY_RUN; then
    command -v gcloud > /dev/null || fail "gcloud is not on PATH: install the Google Cloud CLI, or use --dry-run"
  fi
}

# run WORD...: runs a command; with --dry-run prints it, quoted so that it can be pasted.
run() {
  if ! $DRY_RUN; then
    "$@"
    return
  fi
  local word line=
  for word in "$@"; do
    [[ $word =~ ^[-a-zA-Z0-9_./:=@%+,]+$ ]] || word=${word@Q}
    line+="${line:+ }$word"
  done
  echo "$line"
}

# tpu VERB WORD...: `gcloud compute tpus tpu-vm VERB` on the TPU VM the options name.
tpu() {
  local verb=$1
  shift
  run gcloud compute tpus tpu-vm "$verb" "$TPU_NAME" --zone="$TPU_ZONE" --project="$TPU_PROJECT" "$@"
}

# tpu_copy LOCAL REMOTE: copies a file to every worker.
tpu_copy() {
  run gcloud compute tpus tpu-vm scp "$1" "$TPU_NAME:$2" --zone="$TPU_ZONE" --project="$TPU_PROJECT" --worker=all
}
