#!/usr/bin/env bash
# Creates a TPU VM and shows what was made. One that is there already is left as it is.
#
# usage: tpu/create_tpu_vm.sh --name=NAME --zone=ZONE --project=PROJECT [options]
#
#   --name --zone --project   the TPU VM (or TPU_NAME, TPU_ZONE, TPU_PROJECT in the environment)
#   --accelerator=TYPE        accelerator type (default v3-8)
#   --version=VERSION         TPU software version (default tpu-ubuntu2204-base)
#   --spot                    a VM that is cheaper and may be taken away; runs resume from their last checkpoint
#   --dry-run                 print the commands and run nothing
#   --help                    this text
set -euo pipefail

# shellcheck source=tpu/tpu_vm.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu_vm.sh"

accelerator=v3-8
version=tpu-ubuntu2204-base
extra=()
take_option() {
  case $1 in
    --accelerator=?*) accelerator=${1#*=} ;;
    --version=?*) version=${1#*=} ;;
    --spot) extra+=(--spot) ;;
    *) take_tpu_option "$@" ;;
  esac
}
parse_options "$@"
require_tpu

if ! $DRY_RUN && tpu describe '--format=value(state)' 2> /dev/null; then
  echo "$TPU_NAME is there already (its state is above)"
  exit 0
fi
tpu create --accelerator-type="$accelerator" --version="$version" ${extra[@]+"${extra[@]}"}
tpu describe
