#!/usr/bin/env bash
# Runs a recipe as a JobSet on Kubernetes, one pod on each node; the manifest is jobset.yaml.
#
# usage: tpu/run_kubernetes.sh RECIPE --image=IMAGE --claim=CLAIM --nodes=N [options] [-- --flag=value ...]
#
#   RECIPE                    a file of flags/ without its .flags
#   --image=IMAGE             a container image with this clone and its .venv in the working directory
#   --claim=CLAIM             a persistent volume claim that all pods may write (ReadWriteMany); mounted as /runs
#   --nodes=N                 pods
#   --gpus=N                  GPUs of each (default 8)
#   --name=NAME               of the JobSet (default autonl-RECIPE)
#   --secret=NAME             a secret whose keys become environment variables of the pods
#   --port=PORT               on which the workers talk (default 8470)
#   --restarts=N              how often all are started again when one is lost (default 20)
#   --dataset=NAME            as main.py takes it (default: the recipe's)
#   --model_dir=DIR           run directory (default /runs/RECIPE)
#   --dry-run                 print the manifest and run nothing
#   --help                    this text
#   -- --flag=value ...       more flags for main.py; they come after the recipe's, so they win
set -euo pipefail

# shellcheck source=tpu/common.sh
source "$(dirname "${BASH_SOURCE[0]}")/common.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

image=
claim=
nodes=
gpus=8
name=
secret=
port=8470
restarts=20
dataset=
model_dir=
take_option() {
  case $1 in
    --image=?*) image=${1#*=} ;;
    --claim=?*) claim=${1#*=} ;;
    --nodes=?*) nodes=${1#*=} ;;
    --gpus=?*) gpus=${1#*=} ;;
    --name=?*) name=${1#*=} ;;
    --secret=?*) secret=${1#*=} ;;
    --port=?*) port=${1#*=} ;;
    --restarts=?*) restarts=${1#*=} ;;
    --dataset=?*) dataset=${1#*=} ;;
    --model_dir=?*) model_dir=${1#*=} ;;
    *) take_recipe "$@" ;;
  esac
}
parse_options "$@"
require_recipe
name=${name:-autonl-${RECIPE//_/-}}
for number in "--nodes=$nodes" "--gpus=$gpus" "--port=$port" "--restarts=$restarts"; do
  [[ $number =~ =[1-9][0-9]*$ ]] || fail "$number: accepted: a positive number"
done
[[ $image =~ ^[-a-zA-Z0-9_./:@]+$ ]] || fail "--image=$image: accepted: the name of a container image"
for word in "--name=$name" "--claim=$claim" ${secret:+"--secret=$secret"}; do
  [[ $word =~ =[a-z0-9]([-a-z0-9.]*[a-z0-9])?$ ]] || fail "$word: accepted: lower-case letters, digits and hyphens"
done
require_program kubectl "install the Kubernetes command line"

# json WORD...: a list of strings, which is YAML too.
json() {
  local word list=
  for word in "$@"; do
    [[ $word != *[[:cntrl:]]* ]] || fail "a flag holds a control character"
    word=${word//\\/\\\\}
    list+="${list:+, }\"${word//\"/\\\"}\""
  done
  echo "[$list]"
}

# JobSet calls its pods NAME-JOB-NUMBER OF THE JOB-INDEX, within the subdomain NAME.
workers=
for index in $(seq 0 $((nodes - 1))); do
  workers+="${workers:+,}$name-worker-0-$index.$name:$port"
done
# Kubernetes itself would replace $(NAME) in args; $$ is its $.
flags=("--flagfile=flags/$RECIPE.flags" "--model_dir=${model_dir:-/runs/$RECIPE}")
[[ -z $dataset ]] || flags+=("--dataset=$dataset")
flags+=(${MORE[@]+"${MORE[@]}"})
args=$(json "--workers=$workers" -- "${flags[@]//\$/\$\$}")
env_from='[]'
[[ -z $secret ]] || env_from="[{\"secretRef\": {\"name\": \"$secret\"}}]"

# fill NAME VALUE: puts VALUE, as it is, in the place of @NAME@.
fill() { manifest=${manifest//"@$1@"/"$2"}; }
manifest=$(grep -v '^#' tpu/jobset.yaml)
fill NAME "$name"
fill RESTARTS "$restarts"
fill NODES "$nodes"
fill IMAGE "$image"
fill GPUS "$gpus"
fill CLAIM "$claim"
fill ENV_FROM "$env_from"
fill ARGS "$args"
if $DRY_RUN; then
  echo "$manifest"
else
  kubectl apply --filename=- <<< "$manifest"
fi
