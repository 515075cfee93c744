#!/usr/bin/env bash
# One run on a Slurm cluster:  sbatch cluster/slurm.sh configs/connect_four.yaml --run-dir ~/runs/four run.minutes=200
# Submit it where `fuseki` is on the PATH, from a directory that all nodes see. A requeued job goes on where it was.
#SBATCH --job-name=fuseki
#SBATCH --nodes=4
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
# For a learner on a GPU: a heterogeneous job, or  #SBATCH --gpus-per-node=1
set -euo pipefail

run_dir=
for ((i = 1; i < $#; i++)); do
    if [[ ${!i} == --run-dir ]]; then
        next=$((i + 1))
        run_dir=${!next}
    fi
done
if [[ -z $run_dir ]]; then
    echo "usage: sbatch cluster/slurm.sh CONFIG.yaml --run-dir DIR_ON_A_SHARED_DISK|URL [key=value ...]" >&2
    exit 2
fi

# A token and ports of this job's own: other jobs, ours too, may share its nodes.
umask 077
export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} # which srun does not take over from sbatch since Slurm 22.05
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$HOME/.ray/slurm-$SLURM_JOB_ID.token
everywhere=(srun --overlap --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" --ntasks-per-node=1)
port=$((20000 + SLURM_JOB_ID % 5000 * 4)) # GCS, dashboard, and two for the dashboard's agents
temp=/tmp/ray-$SLURM_JOB_ID
head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
head_ip=$(srun --overlap --nodes=1 --ntasks=1 --nodelist="$head_node" hostname --ip-address | awk '{print $1}')

# The nodes end with their processes; `ray stop` would end other jobs' too.
pids=()
# shellcheck disable=SC2329 # the trap calls it
cleanup() {
    kill "${pids[@]}" 2>/dev/null || true
    wait || true
    "${everywhere[@]}" rm -f "$RAY_AUTH_TOKEN_PATH" || rm -f "$RAY_AUTH_TOKEN_PATH"
}
trap cleanup EXIT

# To every node, since not all clusters share the home; srun has an umask of its own.
# shellcheck disable=SC2016 # the nodes expand it
head -c 32 /dev/urandom | od -An -tx1 | tr -d ' \n' |
    "${everywhere[@]}" sh -c 'umask 077 && mkdir -p "$HOME/.ray" && cat >"$RAY_AUTH_TOKEN_PATH"'

options=(--block --num-cpus="${SLURM_CPUS_PER_TASK:-1}" --temp-dir="$temp" --disable-usage-stats
    --dashboard-agent-listen-port=$((port + 2)) --metrics-export-port=$((port + 3)))
srun --overlap --nodes=1 --ntasks=1 --nodelist="$head_node" \
    ray start --head --node-ip-address="$head_ip" --port="$port" \
    --dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)) "${options[@]}" &
pids+=($!)
if ((SLURM_JOB_NUM_NODES > 1)); then
    others=$((SLURM_JOB_NUM_NODES - 1))
    srun --overlap --nodes="$others" --ntasks="$others" --exclude="$head_node" \
        ray start --address="$head_ip:$port" "${options[@]}" &
    pids+=($!)
fi

export RAY_ADDRESS=$head_ip:$port
for _ in {1..120}; do
    ray health-check --address "$RAY_ADDRESS" >/dev/null 2>&1 && break
    sleep 1
done
timeout 120 python - "$SLURM_JOB_NUM_NODES" <<'PYTHON' || echo "not all nodes have joined; going on with those that have" >&2
import sys, time, ray
ray.init(log_to_driver=False)
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]):
    time.sleep(1)
PYTHON

resume=()
if [[ ${SLURM_RESTART_COUNT:-0} -gt 0 ]] && python - "$run_dir" <<'PYTHON'; then
import sys
from rl.runtime.checkpoint import latest_checkpoint
sys.exit(latest_checkpoint(f"{sys.argv[1]}/checkpoints") is None)
PYTHON
    resume=(--resume)
fi
# SIGTERM, two minutes before the time is up, has the run save a checkpoint and end.
fuseki train "$@" "${resume[@]}" &
train=$!
trap 'kill -TERM "$train"' TERM
status=0
wait "$train" || status=$?
if kill -0 "$train" 2>/dev/null; then # the first wait ended by the signal, not by the run
    status=0
    wait "$train" || status=$?
fi
exit "$status"
