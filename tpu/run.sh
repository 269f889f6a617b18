#!/usr/bin/env bash
# Runs a recipe on a TPU VM, in a tmux session there, so that it survives the disconnection, and follows its log.
# The same command again follows the run that is still going, or resumes it from its last checkpoint.
#
# usage: tpu/run.sh RECIPE --name=NAME --zone=ZONE --project=PROJECT [options] [-- --flag=value ...]
#
#   RECIPE                    a file of flags/ without its .flags
#   --name --zone --project   the TPU VM (or TPU_NAME, TPU_ZONE, TPU_PROJECT in the environment)
#   --dataset=NAME            as main.py takes it, such as imagenet_tfrecord:gs://BUCKET/FOLDER (default: the recipe's)
#   --model_dir=DIR           run directory on the VM, in ~/autonl-tf (default runs/RECIPE); its log is DIR.log
#   --pod                     a slice of several hosts, made with a -pod software version
#   --detach                  do not follow the log
#   --dry-run                 print the commands and run nothing
#   --help                    this text
#   -- --flag=value ...       more flags for main.py; they come after the recipe's, so they win
set -euo pipefail

# shellcheck source=tpu/tpu_vm.sh
source "$(dirname "${BASH_SOURCE[0]}")/tpu_vm.sh"
cd "$(dirname "${BASH_SOURCE[0]}")/.."

model_dir=
dataset=
follow=true
pod=false
take_option() {
  case $1 in
    --model_dir=?*) model_dir=${1#*=} ;;
    --dataset=?*) dataset=${1#*=} ;;
    --detach) follow=false ;;
    --pod) pod=true ;;
    *) take_recipe "$@" || take_tpu_option "$@" ;;
  esac
}
parse_options "$@"
require_recipe
model_dir=${model_dir:-runs/$RECIPE}
[[ $model_dir != *://* ]] || fail "--model_dir=$model_dir is not a path on the VM; copy the run to a bucket afterwards"
require_tpu

# A slice of several hosts is driven by one process on worker 0, which finds the others by the TPU's name and must not
# take its own chips for itself.
command=()
where=(--tpu=local)
if $pod; then
  command=(env TPU_LOAD_LIBRARY=0)
  where=("--tpu=$TPU_NAME" "--tpu_zone=$TPU_ZONE" "--gcp_project=$TPU_PROJECT")
fi
command+=(.venv/bin/python main.py "--flagfile=flags/$RECIPE.flags" "--model_dir=$model_dir")
[[ -z $dataset ]] || command+=("--dataset=$dataset")
command+=("${where[@]}" --strategy=tpu ${MORE[@]+"${MORE[@]}"})
# $model_dir and the flags are quoted twice: once for the shell of tmux, once for the shell of ssh.
printf -v inner '%q ' "${command[@]}"
printf -v log '%q' "$model_dir.log"
printf -v folder '%q' "$(dirname "$model_dir")"
inner+=">> $log 2>&1; echo \"exit code \$?\" >> $log"
printf -v inner '%q' "$inner"
session=autonl-$RECIPE

tpu ssh --worker=0 --command="cd autonl-tf && mkdir -p $folder && { tmux has-session -t =$session 2> /dev/null || tmux new-session -d -s $session $inner; }"
$DRY_RUN || echo "$RECIPE runs in the tmux session $session of $TPU_NAME; its log there is autonl-tf/$model_dir.log"
if $follow; then
  $DRY_RUN || echo "following the log; Ctrl-C stops following, not the run"
  tpu ssh --worker=0 --command="cd autonl-tf && sleep 2 && if pid=\$(tmux list-panes -t =$session: -F '#{pane_pid}' 2> /dev/null); then tail -n 50 -F --pid=\$pid $log; else tail -n 50 $log; fi"
fi
