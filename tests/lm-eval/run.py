"""Runs EleutherAI's lm-evaluation-harness on local items against our server.

    make lm-eval                     # all items
    make lm-eval LM_EVAL=--limit=50  # what follows goes to lm_eval

The harness asks the server for its tokenizer and for the log-probabilities of prompts (echo). What it logs of each item stays in
--out, for llama/cpp.TestHarnessScores to compare with llama.cpp's own.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))
from conftest import running  # noqa: E402

# The items have the form that the harness's own tasks of these names make of their data.
TASKS = {
    "piqa": """output_type: multiple_choice
doc_to_text: "{{query}}Answer:"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]""",
    "arc_easy": """output_type: multiple_choice
doc_to_text: "{{query}}\\nAnswer:"
doc_to_target: gold
doc_to_choice: choices
metric_list: [{metric: acc}, {metric: acc_norm}]""",
    "lambada": """output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: "{{' ' + continuation}}"
metric_list: [{metric: acc}, {metric: perplexity}]""",
}


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--out", type=Path, default=ROOT / "bin" / "lm-eval", help="folder of the results")
    options.add_argument("--tasks", default=",".join(TASKS))
    args, further = options.parse_known_args()

    data = Path(os.environ.get("AIM_SHARED", ROOT.parent / "shared")) / "testdata" / "eval"
    if not data.is_dir():
        print(f"lm-eval skipped: there are no items in {data}; AIM_SHARED names another folder")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        tasks, state = Path(folder, "tasks"), Path(folder, "state")
        tasks.mkdir()
        state.mkdir()
        for name, text in TASKS.items():
            head = f"task: aim_{name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data / name}.jsonl}}}}\ntest_split: test\n"
            Path(tasks, f"{name}.yaml").write_text(head + text + "\n")
        with running(state, "--slots", "8", "--queue", "256", "--log-level", "warn") as server:
            model = f"base_url={server.url}/v1/completions,model={server.model},num_concurrent=8,max_retries=3"
            return subprocess.run(
                [
                    Path(sys.executable).with_name("lm_eval"), "run", "--model", "local-completions", "--model_args", model,
                    "--include_path", tasks, "--tasks", ",".join("aim_" + t for t in args.tasks.split(",")),
                    "--output_path", args.out, "--log_samples", *further,
                ],
                env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(Path(folder, "cache")), "TOKENIZERS_PARALLELISM": "false"},
                check=False,
            ).returncode


if __name__ == "__main__":
    sys.exit(main())
