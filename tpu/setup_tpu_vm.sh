#!/usr/bin/env bash
# Copies this clone to a TPU VM (every worker) and installs the TPU packages there, in ~/autonl-tf/.venv.
# What is copied is what git tracks, as it stands in the working directory. Repeating it updates the copy.
#
# usage: tpu/setup_tpu_vm.sh --name=NAME --zone=ZONE --project=PROJECT [options]
#
#   --name --zone --project   the TPU VM (or TPU_NAME, TPU_ZONE, TPU_PROJECT in the environment)
#   --dry-run                 print the commands and run nothing
#   --help                    this text
set -euo pipefail

# shellcheck source=tpu/tpu_vm.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu_vm.sh"

take_option() { take_tpu_option "$@"; }
parse_options "$@"
require_tpu

cd "$(dirname "${BASH_SOURCE[0]}")/.."
archive=autonl-tf.tar.gz
if ! $DRY_RUN; then
  git rev-parse --is-inside-work-tree > /dev/null || fail "this is not a clone: what git tracks is what is copied"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' EXIT
  archive=$folder/$archive
fi
run bash -c 'git ls-files -z | tar --null --files-from=- -czf "$0"' "$archive"

tpu_copy "$archive" autonl-tf.tar.gz
tpu ssh --worker=all --command='mkdir -p autonl-tf && tar -xzf autonl-tf.tar.gz -C autonl-tf'
tpu ssh --worker=all --command='sudo apt-get update -q && sudo apt-get install -y -q python3-venv tmux'
tpu ssh --worker=all --command='cd autonl-tf && python3 -m venv .venv && grep -vE "^(tensorboard|tensorflow|tf_keras)==" constraints.txt > .venv/constraints.txt && .venv/bin/python -m pip install -q -c .venv/constraints.txt setuptools wheel -r tpu/requirements.txt'
tpu ssh --worker=all --command='cd autonl-tf && .venv/bin/python -m pip install -q --no-deps --no-build-isolation "tf-keras>=2.20,<2.21" -e .'
tpu ssh --worker=all --command="cd autonl-tf && .venv/bin/python -c 'import tensorflow, tf_keras; print(tensorflow.__version__, tf_keras.__version__)'"
