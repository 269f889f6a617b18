# shellcheck shell=bash
# What the scripts for Cloud TPU share beside common.sh: the options that name a TPU VM, and gcloud's words.
# Sourced, not run.

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

TPU_NAME=${TPU_NAME:-}
TPU_ZONE=${TPU_ZONE:-}
TPU_PROJECT=${TPU_PROJECT:-}

# take_tpu_option OPTION...: for a script's take_option.
take_tpu_option() {
  case $1 in
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
      # shellcheck disable=SC2034 # read by parse_options
      SHIFTED=2
      ;;
    *) return 1 ;;
  esac
}

require_tpu() {
  [[ -n $TPU_NAME ]] || fail "no TPU name: give --name=NAME or set TPU_NAME"
  [[ -n $TPU_ZONE ]] || fail "no zone: give --zone=ZONE or set TPU_ZONE (as in us-central1-a)"
  [[ -n $TPU_PROJECT ]] || fail "no project: give --project=PROJECT or set TPU_PROJECT"
  [[ $TPU_NAME =~ ^[a-z]([-a-z0-9]*[a-z0-9])?$ ]] ||
    fail "the TPU name '$TPU_NAME' is not made of lower-case letters, digits and hyphens, a letter first"
  require_program gcloud "install the Google Cloud CLI"
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
