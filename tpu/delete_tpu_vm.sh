#!/usr/bin/env bash
# Deletes a TPU VM and its disk. What is not in a bucket is lost.
#
# usage: tpu/delete_tpu_vm.sh --name=NAME --zone=ZONE --project=PROJECT [options]
#
#   --name --zone --project   the TPU VM (or TPU_NAME, TPU_ZONE, TPU_PROJECT in the environment)
#   --yes                     do not ask
#   --dry-run                 print the command and run nothing
#   --help                    this text
set -euo pipefail

# shellcheck source=tpu/tpu_vm.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu_vm.sh"

extra=()
take_option() {
  case $1 in
    --yes) extra+=(--quiet) ;;
    *) take_tpu_option "$@" ;;
  esac
}
parse_options "$@"
require_tpu

tpu delete ${extra[@]+"${extra[@]}"}
