"""Mistakes in what is typed: names, types, ranges, shapes. They are told before data is looked for."""

from __future__ import annotations

from .faults import BASE, BLIND, EVAL, GENERATE, Fault

NAMES = [
    Fault("group misspelt", BLIND + "modle=small", r"modle=small: there is no .*'modle'.* Did you mean 'model'"),
    Fault("group of a key misspelt", BLIND + "modle.dim=8", r"modle\.dim=8: .* Did you mean model\.dim\?"),
    Fault("key misspelt", BLIND + "model.dmi=8", r"model\.dmi=8: model has no setting 'dmi'\. Did you mean 'dim'\?"),
    Fault("root key misspelt", BLIND + "sead=2", r"sead=2: there is no key 'sead'\. Did you mean 'seed'"),
    Fault(
        "choice misspelt",
        BLIND + "model=tny",
        r"model=tny: .* Did you mean 'tiny'\?\nChoices of model: bag_of_embeddings, bart, bert, ",
    ),
    Fault("value misspelt", BLIND + "optim.schedule=cosin", r"optim\.schedule=cosin: set one of cosine, linear, con"),
    Fault(
        "metric misspelt", BLIND + "callbacks.monitor=val/bpb", r"monitor=val/bpb .*Did you mean 'val/bits_per_byte'"
    ),
    Fault(
        "verb misspelt", "trian", r"trian: there is no such verb\. Did you mean 'train'\? The verbs are train, eval, "
    ),
    Fault("no verb", "", r"name a verb: train, eval, predict, generate, chat, families, model, runs"),
    Fault("flag misspelt", "train --multirn", r"--multirn: train has no flag --multirn\. Did you mean --multirun\?"),
    Fault("no setting", BLIND + "small", r"'small' is not a setting\. Write KEY=VALUE"),
    Fault("several values", BLIND + "seed=1,2", r"seed=1,2: several values for one setting\. Add -m"),
    Fault(
        "group taken out and set",
        BLIND + "~model model.dim=16",
        r"model\.dim=16: ~model takes model out of the config\.",
    ),
    Fault(
        "setting of a group without a choice",
        BLIND + "debug.x=1",
        r"debug\.x=1: no choice of debug is made\. Add debug=",
    ),
    Fault("key of eval misspelt", EVAL + "strid=8", r"strid=8: there is no key 'strid'\. Did you mean 'stride'\?"),
    Fault("key of generate misspelt", GENERATE + "temprature=1", r"temprature=1: .*Did you mean 'temperature'\?"),
    Fault("sort of runs misspelt", "runs {outputs} --sort val/bpb", r"val/bpb: .*Did you mean 'val/bits_per_byte'\?"),
]

TYPES = [
    Fault("text for a count", BLIND + "model.dim=wide", r"model\.dim=wide: set a whole number\."),
    Fault(
        "whole number in another notation",
        BLIND + "task.batch_size=1e1",
        r"task\.batch_size=10\.0: set a whole number, written 10\.",
    ),
    Fault("fraction for a count", BLIND + "task.batch_size=2.5", r"task\.batch_size=2\.5: set a whole number\."),
    Fault("text for a number", BLIND + "optim.lr=fast", r"optim\.lr=fast: set a number\."),
    Fault("number for a switch", BLIND + "task.pack=3", r"task\.pack=3: set true or false\."),
    Fault("text for a switch", BLIND + "compile=maybe", r"compile=maybe: set true or false\."),
    Fault("text for the seed", BLIND + "seed=abc", r"seed=abc: set a whole number\."),
    Fault("text for a list", BLIND + "tags=abc", r"tags=abc: set a list"),
    Fault("text for allow", BLIND + "allow=os", r"allow=os: set a list"),
    Fault("null for a number", BLIND + "optim.lr=null", r"optim\.lr=null: set a number\."),
    Fault("switch for a number", BLIND + "optim.lr=true", r"optim\.lr=true: set a number\."),
    Fault("list for a folder", BLIND + "init=[a]", r"init=\['a'\]: set a text or null\."),
    Fault("word for devices", BLIND + "trainer.devices=two", r"trainer\.devices=two .*should be an int"),
    Fault("text for a count of generate", GENERATE + "top_k=many", r"top_k=many: set a whole number of at least 1"),
    Fault("text for a key of eval", EVAL + "stride=abc", r"stride=abc: set a whole number or null"),
]

RANGES = [
    Fault("seed below 0", BLIND + "seed=-1", r"seed=-1: set a number from 0 to 4294967295\."),
    Fault("rate below 0", BLIND + "optim.lr=-1", r"optim\.lr=-1: set a number of at least 0\."),
    Fault("rate not a number", BLIND + "optim.lr=nan", r"optim\.lr=nan: set a number\."),
    Fault("no steps", BLIND + "trainer.max_steps=0", r"trainer\.max_steps=0: set a .*number of at least 1\."),
    Fault("no end", BLIND + "trainer.max_steps=null", r"trainer\.max_steps=null: the run would never end\. Set "),
    Fault("no layers", BLIND + "model.num_layers=0", r"model\.num_layers=0: set a whole number of at least 1\."),
    Fault("dropout of 1.5", BLIND + "model.dropout=1.5", r"model\.dropout=1\.5: set a number from 0 to less than 1\."),
    Fault("batch of 0", BASE + "task.batch_size=0", r"task\.batch_size=0: set a .*number of at least 1\."),
    Fault("rows of 0", BASE + "task.seq_len=0", r"task\.seq_len=0: set a .*number of at least 1\."),
    Fault(
        "half for validation", BLIND + "data.validation_fraction=0.7", r"validation_fraction=0\.7: set a number above"
    ),
    Fault(
        "share above 1", BLIND + "trainer.limit_val_batches=1.5", r"limit_val_batches=1\.5: set a number from 0 to 1"
    ),
    Fault("no patience", BASE + "callbacks.patience=0", r"callbacks\.patience=0: set a whole number of at least 1\."),
    Fault("unknown precision", BLIND + "trainer.precision=bf17", r"precision=bf17 is not one of .*Did you mean 'bf16'"),
    Fault("unknown strategy", BLIND + "trainer.strategy=dpd", r"strategy=dpd is no strategy .*Did you mean 'ddp'"),
    Fault("unknown accelerator", BLIND + "trainer.accelerator=quantum", r"accelerator=quantum is not one of auto, gpu"),
    Fault("no threads", BLIND + "trainer.threads=0", r"trainer\.threads=0: set a whole number of at least 1\."),
    Fault("threads in words", BLIND + "trainer.threads=all", r"trainer\.threads=all: set a whole number or null\."),
    Fault(
        "options of no strategy",
        BLIND + "+trainer.strategy_options.cpu_offload=true",
        r"strategy_options=\{.*\} belongs to a strategy that is named: set trainer\.strategy too\.",
    ),
    Fault(
        "option misspelt",
        BLIND + "trainer.strategy=ddp +trainer.strategy_options.static_grap=true",
        r"strategy_options\.static_grap=True is no argument of DDPStrategy\.",
    ),
    Fault(
        "FSDP1's argument",
        BLIND + "trainer=fsdp +trainer.strategy_options.limit_all_gathers=true",
        r"strategy_options\.limit_all_gathers=True is no argument of FullySharded\.",
    ),
    Fault(
        "no block recomputed",
        BLIND + "activation_checkpointing=0",
        r"activation_checkpointing=0: set a whole number of at",
    ),
    Fault(
        "blocks in words",
        BLIND + "activation_checkpointing=all",
        r"activation_checkpointing=all: set a whole number or",
    ),
    Fault(
        "more than there are",
        BLIND + "activation_checkpointing=9",
        r"activation_checkpointing=9: Decoder has 4 blocks\. Set activation_checkpointing=1\.",
    ),
    Fault(
        "experts compiled and recomputed",
        BLIND + "compile=true activation_checkpointing=1 model.num_experts=4",
        r"compile=true activation_checkpointing=1: with model\.num_experts torch cannot do both\. Set compile=false or",
    ),
    Fault("no devices", BLIND + "trainer.devices=0", r"trainer\.devices=0: set at least 1, or auto\."),
    Fault("temperature below 0", GENERATE + "temperature=-1", r"temperature=-1: set a number of at least 0\."),
    Fault("stride above a row", EVAL + "stride=64", r"^error: stride=64: set a number from 1 to 32\. .*task\.seq_len"),
]

SHAPES = [
    Fault(
        "width by heads", BLIND + "model.dim=15", r"model\.dim=15 does not divide by model\.num_heads=2: set model\.dim"
    ),
    Fault(
        "heads by groups",
        BLIND + "model.num_heads=4 model.num_kv_heads=3",
        r"model\.num_heads=4 does not divide by model\.num_kv_heads=3: set .*num_kv_heads to 1 or 2 or 4\.",
    ),
    Fault(
        "odd width of a head",
        BLIND + "model.dim=6",
        r"model\.positions=rotary turns pairs, .* is 3, an odd number: set",
    ),
    Fault(
        "rows longer than learned positions",
        BLIND + "model.positions=learned model.max_positions=16 task.seq_len=32",
        r"task\.seq_len=32 is longer than .*positions\. Set task\.seq_len=16 or less, or model\.max_positions=32\.",
    ),
    Fault(
        "evaluated rows longer than learned positions",
        EVAL + "model.positions=learned model.max_positions=32 task.seq_len=33",
        r"task\.seq_len=33 is longer than .*positions\. Set task\.seq_len=32 or less",
    ),
    Fault(
        "learned without a number", BLIND + "model.positions=learned", r"positions=learned .*: set model\.max_positions"
    ),
    Fault(
        "vocabulary that the data cannot fill",
        "train data=json data.path={corpus} tokenizer=bpe tokenizer.vocab_size=50000",
        r"tokenizer\.vocab_size=50000: the training split fills only (\d+)\. Set tokenizer\.vocab_size=\1 or less",
    ),
    Fault(
        "vocabulary below the bytes", BASE + "tokenizer=bpe tokenizer.vocab_size=10", r"vocab_size=10: .*at least 257"
    ),
]

_TWO = BLIND + "task=mixture +task@task.members.a=classification +task@task.members.b=masked "

MEMBERS = [
    Fault(
        "tasks in a list",
        BLIND + "task=[classification,masked]",
        r"task=\[classification,masked\]: these would be mixed",
    ),
    Fault(
        "no members",
        BLIND + "task=mixture",
        r"task\.members is empty: a mixture needs two tasks at least\. Add them, e",
    ),
    Fault(
        "a single member",
        BLIND + "task=mixture +task@task.members.a=masked",
        r"task\.members has a alone: a mixture needs two",
    ),
    Fault(
        "weight missing",
        _TWO + "task.weights={{a:1}}",
        r"task\.weights has none for b: set task\.weights\.b, 0 for none",
    ),
    Fault("weight negative", _TWO + "task.weights={{a:1,b:-1}}", r"task\.weights\.b=-1: set a number of at least 0\."),
    Fault("weight of nobody", _TWO + "task.weights={{a:1,b:1,c:1}}", r"task\.weights\.c=1: there is no member c\."),
    Fault(
        "weights of none", _TWO + "task.weights={{a:0,b:0}}", r"task\.weights are all 0: nothing would be trained on"
    ),
    Fault(
        "mixture within a mixture",
        _TWO + "+task@task.members.c=mixture",
        r"task\.members\.c is a mixture itself\. Put its members beside the others\.",
    ),
    Fault(
        "member that is no task",
        _TWO + "+task.members.c=3",
        r"task\.members\.c=3 names no task\. Choose one with \+task@",
    ),
    Fault(
        "member without a plus sign",
        BLIND + "task=mixture task@task.members.a=masked",
        r"task@task\.members\.a: what the config does not have yet is added with a plus sign: \+task@",
    ),
    Fault(
        "head that a member's task cannot use",
        _TWO + "+head@task.members.b.head=label",
        r"head=label does not fit .*Set \+head@task\.members\.b\.head=masked_token\.",
    ),
    Fault(
        "network that a member cannot use",
        _TWO + "model=tiny",
        r"task\.members\.b: model=tiny is causal, and head=masked_token needs bidirectional: .*Set model=bert or model=enc",
    ),
    Fault(
        "members that no network goes with",
        _TWO + "+task@task.members.c=generation",
        r"none goes with all of these: a goes with bag_of_embeddings bert .*; b goes with bert encoder roberta textcnn; c goes with bag_of_embeddings ",
    ),
    Fault(
        "setting of a member",
        _TWO + "task.members.a.batch_size=x",
        r"task\.members\.a\.batch_size=x: set a whole number",
    ),
    Fault("monitor of no member", _TWO + "callbacks.monitor=val/accuracy", r"Did you mean 'val/accuracy/.'"),
]
