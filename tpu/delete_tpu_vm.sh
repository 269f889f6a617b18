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

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"

extra=()
while [[ $# -gt 0 ]]; do
  take_common_option "$@"
  if [[ $SHIFTED -gt 0 ]]; then
    shift "$SHIFTED"
    continue
  fi
  case $1 in
    --yes) extra+=(--quiet) ;;
    *) fail "unknown option '$1'; see --help" ;;
  esac
  shift
done
require_common

tpu delete ${extra[@]+"${extra[@]}"}
