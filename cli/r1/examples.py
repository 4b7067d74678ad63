"""What `--help` prints below the options: commands to copy, and exit codes."""

from __future__ import annotations

ROOT = """Examples:
    r1
    r1 "How many r's are in strawberry?"
    git diff | r1 -m qwen-7b "Write a commit message for this change."
    r1 pull qwen-7b

Only `r1 pull`, `r1 verify --repair` and `--rpc` need a network. R1_* variables and config.toml can hold settings, too.\
"""

RUN = """Examples:
    r1 run "How many r's are in strawberry?"
    git diff | r1 run "Write a commit message for this change."
    r1 run --effort low "What is 17 + 25?"
    r1 run --choices yes,no,unsure "Is 2027 a prime number?"
    r1 run --schema '{"type": "array", "items": {"type": "integer"}}' "The first ten primes?"
    r1 run -f report.txt --thinking hide "What are the risks?" > risks.txt
    while read -r line; do r1 run --no-stdin "$line"; done < questions.txt
    r1 run -m qwen-32b --draft qwen-1.5b -f main.py "Add type hints."
    r1 run --jsonl --max-tokens 4096 < questions.jsonl > answers.jsonl
    r1 run --jsonl --parallel 8 --resume answers.jsonl < questions.jsonl >> answers.jsonl

Without `run` it is the same: r1 "PROMPT". Stdin is read unless it is a terminal, and follows the words.

SIGUSR1 (on Windows Ctrl-Break) ends the thinking, and the answer follows.

Exit codes: 0 complete answer, 1 unexpected error, 2 bad input, 3 answer cut off or not of its form, 4 no such model, \
5 not enough memory or disk space, 7 damaged file, 129 SIGHUP, 130 Ctrl-C, 141 the reader of stdout is gone, \
143 SIGTERM."""

CHAT = """Examples:
    r1
    r1 -m qwen-7b
    r1 chat qwen-7b
    r1 chat qwen-32b --draft qwen-1.5b
    r1 chat --continue
    r1 chat --chat 12 --thinking show

In the chat, /help lists commands and keys, and /set changes settings."""

PULL = """Examples:
    r1 pull qwen-1.5b
    r1 pull llama-70b:Q4_K_M --dry-run
    r1 pull qwen-7b:Q8_0 --keep-checkpoint
    r1 pull qwen-7b --prebuilt
    r1 pull hf:bartowski/DeepSeek-R1-Distill-Qwen-7B-GGUF/DeepSeek-R1-Distill-Qwen-7B-Q6_K.gguf
    r1 pull qwen-7b --tensor-type attn_v=Q8_0
    r1 pull --update

A checkpoint in the Hugging Face cache is read from there. HF_HOME, HF_ENDPOINT, HF_TOKEN and HF_HUB_OFFLINE are \
honoured, and so are HTTPS_PROXY, ALL_PROXY (HTTP or SOCKS 5), NO_PROXY and SSL_CERT_FILE. Exit codes: 0 the model \
is here or the plan is printed, 2 bad input, 4 no such model, 5 not enough disk space, or memory to run it, 6 network \
or hub error, 7 damaged or unsupported file, 130 Ctrl-C, 143 SIGTERM."""

REMOVE = """Examples:
    r1 rm qwen-7b:Q8_0
    r1 rm -y qwen-7b
    r1 rm deepseek-ai/DeepSeek-R1-Distill-Qwen-7B
    r1 rm --cache

`r1 list` shows what can be removed. Exit codes: 0 removed or declined, 2 bad input, 4 no such model."""

QUANTIZE = """Examples:
    r1 quantize qwen-7b --list-types
    r1 quantize ./DeepSeek-R1-Distill-Qwen-1.5B -t Q4_K_M
    r1 quantize ./my-fine-tune -t Q8_0 -o my-fine-tune.gguf
    r1 quantize ./checkpoint-500 -t Q8_0 --name my-fine-tune
    r1 quantize ./model-BF16.gguf -t IQ2_M --imatrix imatrix.gguf
    r1 quantize qwen-7b -t Q4_K_M --tensor-type ffn_down=Q6_K
    r1 quantize ./model-Q8_0-00001-of-00002.gguf -t COPY -o model-Q8_0.gguf

The same command resumes an interrupted run. Exit codes: 0 the file is complete, 2 bad input, 4 no such source, \
5 not enough disk space, 7 damaged or unsupported file, 130 Ctrl-C, 143 SIGTERM."""

LIST = """Examples:
    r1 list
    r1 list | cut -f1
    r1 list --json

`(default)` marks the model that r1 takes without -m. In a pipe, each line has the name, the size in bytes and the \
path of a model on this disk, separated by tabs."""

DOCTOR = """Examples:
    r1 doctor
    r1 doctor --json | jq -r .recommendation.command

It needs no network and takes about two seconds; one of them measures memory bandwidth."""

SHOW = """Examples:
    r1 show tiny
    r1 show qwen-7b:Q4_K_M --json
    r1 show ./model.gguf

Exit codes: 0 success, 4 no such model, 7 damaged or unsupported file."""

VERIFY = """Examples:
    r1 verify qwen-7b
    r1 verify qwen-7b --repair
    r1 verify ./model.gguf && echo intact

Exit codes: 0 intact, 4 no such model, 6 network or hub error during a repair, 7 damaged file."""

BENCH = """Examples:
    r1 bench
    r1 bench qwen-7b --depths 0,4096 -r 5
    r1 bench --json | jq '.rows[] | {test, depth, mean_tps}'
    r1 bench --parallel 1,2,4,8,16
    r1 bench --parallel 1,16 --shared
    r1 bench --tune

Measures like llama.cpp's llama-bench and llama-batched-bench: random tokens, a run to warm up, no sampling; ± is the \
standard deviation of the runs. Ctrl-C prints the measurements so far (exit code 130, for SIGTERM 143)."""

EVAL = """Examples:
    r1 eval --builtin tiny -m tiny
    r1 eval --builtin tiny -m tiny --temp 2 --top-p 1 -k 16
    r1 eval problems.jsonl -m qwen-1.5b -k 4 -o samples.jsonl
    r1 eval problems.jsonl --shuffle 1 --limit 50 --effort low --json
    jq -c '{question: .Q, answer: .A}' set.jsonl | r1 eval -

A line is {"question": …, "answer": …}, or has the field names of MATH-500, AIME, GSM8K or MMLU; with "check" in \
place of an answer, the final answer as a whole must match this regular expression. pass@1 is the share of right \
samples, cons@k that of the problems which the most frequent of k answers gets right; ± is the standard error over \
the problems. Ctrl-C prints the figures so far; SIGUSR1 (on Windows Ctrl-Break) ends the thinking of the samples under \
way. Exit codes: 0 every problem was asked, 1 another r1 eval writes the file of --output, 2 bad input, also a line \
that is no problem or a question that is too long, 4 no such model, 5 not enough memory or disk space, 7 damaged file, \
130 Ctrl-C, 143 SIGTERM."""

SERVE = """Examples:
    r1 serve
    r1 serve -m qwen-7b --parallel 4
    r1 serve -m qwen-32b --draft qwen-1.5b
    R1_API_KEY=secret r1 serve --host 0.0.0.0
    r1 serve --allow-origin http://localhost:3000
    r1 serve --json >requests.jsonl
    r1 serve -q & sleep 2; curl http://127.0.0.1:8017/v1/models

Without -m, a request names its model as `r1 list` does, and the model is loaded then. The options about the answer \
and the thinking are for requests that do not say otherwise. OpenAI clients need the address with /v1, those of \
Anthropic and Ollama the address alone; docs/serving.md has the lines for many of them. Exit codes: 2 the address \
cannot be used, or another bad option, 4 no such model, 5 not enough memory, 7 damaged file, 130 Ctrl-C, 143 SIGTERM."""

HISTORY = """Examples:
    r1 history
    r1 history search strawberry "how many"
    r1 history show 3 --thinking
    r1 history export 3 strawberry.md

The chats are in history.db in R1_HOME, an SQLite database; its view `transcript` is the easiest to read."""

HISTORY_LIST = """Examples:
    r1 history list
    r1 history list | cut -f1,5
    r1 history list --json

In a pipe, each line has a chat's number, time, number of turns, model and title, separated by tabs."""

HISTORY_SEARCH = """Examples:
    r1 history search strawberry
    r1 history search strawberry "how many"
    r1 history search --json 草莓

In a pipe, each line has a chat's number, a turn's number, where the words are and an excerpt, separated by tabs."""

HISTORY_SHOW = """Examples:
    r1 history show 3
    r1 history show 3 --thinking | less
    r1 history show 3 --json

`r1 history` lists the numbers of the chats. Exit codes: 0 success, 2 bad input, 4 no such chat."""

HISTORY_EXPORT = """Examples:
    r1 history export 3 strawberry.md
    r1 history export 3 strawberry.json --with-thinking
    r1 history export 3 - | less

The format follows from the name of the file: Markdown or JSON. Exit codes: 0 success, 2 bad input or the file exists, \
4 no such chat."""

HISTORY_DELETE = """Examples:
    r1 history delete 3
    r1 history delete -y 3 4 5
    r1 history delete --all

Asks for confirmation, unless -y is given. In a pipe, each line has the number and the title of a deleted chat. Exit \
codes: 0 deleted or declined, 2 bad input, 4 no such chat."""
