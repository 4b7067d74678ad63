"""What `--help` shows below the options: commands to copy, and the exit codes."""

from __future__ import annotations

RUN = """Examples:

    r1 run "How many r's are in strawberry?"

    git diff | r1 run "Write a commit message for this change."

    r1 run -f report.txt --thinking hide "What are the risks?" > risks.txt

    r1 run --jsonl --max-tokens 4096 < questions.jsonl > answers.jsonl

Exit codes: 0 the answer is whole, 2 bad input, 3 the answer was cut by a limit, 4 no such model, \
5 not enough memory or disk, 7 a damaged file, 130 Ctrl-C, 141 the reader went away, 1 anything else."""

PULL = """Examples:

    r1 pull qwen-1.5b

    r1 pull llama-70b:Q4_K_M --dry-run

    r1 pull qwen-7b:Q8_0 --keep-checkpoint

    r1 pull qwen-7b --prebuilt

    r1 pull hf:bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF/DeepSeek-R1-Distill-Qwen-7B-Q6_K.gguf

    r1 pull --update

A checkpoint in the Hugging Face cache is read from there. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are \
honoured. Exit codes: 0 the model is here, 2 bad input, 4 no such model, 5 not enough disk, 6 the network or the hub \
failed, 7 a damaged or unknown file, 130 Ctrl-C."""

REMOVE = """Examples:

    r1 rm qwen-7b:Q8_0

    r1 rm -y qwen-7b

    r1 rm deepseek-ai/DeepSeek-R1-Distill-Qwen-7B"""

QUANTIZE = """Examples:

    r1 quantize qwen-7b --list-types

    r1 quantize ./DeepSeek-R1-Distill-Qwen-1.5B -t Q4_K_M

    r1 quantize ./my-fine-tune -t Q8_0 -o my-fine-tune.gguf

    r1 quantize ./model-BF16.gguf -t IQ2_M --imatrix imatrix.gguf

    r1 quantize qwen-7b -t Q4_K_M --tensor-type ffn_down=Q6_K

    r1 quantize ./model-Q8_0-00001-of-00002.gguf -t COPY -o model-Q8_0.gguf

A run that was stopped, however it was, is taken up again by the same command. \
Exit codes: 0 the file is whole, 2 bad input, 4 no such source, 5 not enough disk, 7 a damaged or unknown file, \
130 Ctrl-C."""

LIST = """Examples:

    r1 list

    r1 list | cut -f1

    r1 list --json"""

SHOW = """Examples:

    r1 show tiny

    r1 show qwen-7b:Q4_K_M --json

    r1 show ./model.gguf"""

VERIFY = """Examples:

    r1 verify qwen-7b

    r1 verify qwen-7b --repair

    r1 verify ./model.gguf && echo whole"""
