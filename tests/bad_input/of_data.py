"""Mistakes in where the data and the tokenizer are: paths, formats, splits, columns of texts."""

from __future__ import annotations

import gzip
from pathlib import Path

from .faults import BASE, Fault
from .planted import closed, file, folder_with
from .surroundings import bound_by_rights

TEXT, JSONL = BASE.replace("json", "text"), BASE.replace("{corpus}", "x.jsonl")
CSV = BASE.replace("json", "csv").replace("{corpus}", "x.csv")
DATA = [
    Fault(
        "file missing",
        BASE.replace("{corpus}", "x.jsnl"),
        r"data\.path=x\.jsnl: there is no such file or folder\. Did you mean 'x\.jsonl'\?",
        make=file("x.jsonl", "{}"),
    ),
    Fault("path not set", "train data=text", r"data\.path is not set: add data\.path=VALUE\."),
    Fault("folder of another kind", BASE + "data=parquet", r"data\.path=.*without \.parquet files; it has test\.jsonl"),
    Fault("file empty", JSONL, r"data\.path=x\.jsonl is empty\. Set data\.path to a file", make=file("x.jsonl", "")),
    Fault("file with no row", JSONL, r"data\.path=x\.jsonl has no row\. Set data\.path", make=file("x.jsonl", "\n\n")),
    Fault(
        "file unreadable",
        JSONL,
        r"data\.path=x\.jsonl cannot be read: permission denied\. Set its rights, or another path\.",
        make=closed("x.jsonl"),
        within=bound_by_rights,
    ),
    Fault(
        "folder unreadable",
        BASE.replace("{corpus}", "data"),
        r"data\.path=data cannot be read: permission denied\.",
        make=lambda run: Path("data").mkdir(mode=0),
        within=bound_by_rights,
    ),
    Fault(
        "not UTF-8",
        JSONL,
        r"data\.path=x\.jsonl is not UTF-8: byte 25 \(0xff\) .*\nSet data\.encoding to the file's own, e\.g\. latin-1",
        make=file("x.jsonl", b'{"text": "ok"}\n{"text": "\xff"}\n'),
    ),
    Fault("encoding unknown", BASE + "data.encoding=utf-9", r"data\.encoding=utf-9 is no encoding .*Set e\.g\. utf-8"),
    Fault(
        "malformed JSON",
        JSONL,
        r"data\.path=x\.jsonl is not json: line 2, column 9: .*Mend the file or set another data\.path",
        make=file("x.jsonl", '{"text": "a"}\n{"text" "b"}\n{"text": "c"}\n'),
    ),
    Fault(
        "text column absent",
        BASE + "data.text_column=txt",
        r"data\.text_column=txt is no column of .*train\.jsonl\. Did you mean 'text'\? It has: text\.",
    ),
    Fault(
        "text column not text",
        JSONL + "data.text_column=n",
        r"data\.text_column=n of x\.jsonl holds no text but int64\. Columns with text: text\.",
        make=file("x.jsonl", '{"text": "a", "n": 1}\n' * 9),
    ),
    Fault("JSON lines that are texts", JSONL, r"data\.path=x\.jsonl is not json: line 1 is no object: write \{\"text\": ",
          make=file("x.jsonl", '"a"\n"b"\n"c"\n')),
    Fault("a JSON line that is a number", JSONL, r"data\.path=x\.jsonl is not json: line 3 is no object: write ",
          make=file("x.jsonl", '{"text": "a"}\n\n1\n{"text": "b"}\n')),
    Fault("a JSON list of texts", JSONL, r"data\.path=x\.jsonl is not json: item 2 of its list is no object: write ",
          make=file("x.jsonl", '[{"text": "a"},\n "b"]\n')),
    Fault("gzip cut off", BASE.replace("{corpus}", "x.jsonl.gz"),
          r"data\.path=x\.jsonl\.gz: the compressed file is damaged or cut off .*\. Fetch or pack it again, or set another",
          make=file("x.jsonl.gz", gzip.compress(b'{"text": "a"}\n' * 500)[:-20])),
    Fault("zip cut off", BASE.replace("{corpus}", "x.jsonl.zip"),
          r"data\.path=x\.jsonl\.zip: the compressed file is damaged or cut off .*\. Fetch or pack it again, or set another",
          make=file("x.jsonl.zip", b"PK\x03\x04" + bytes(200))),
    Fault("semicolons for commas", CSV, r"data\.path=x\.csv: its first line is separated by ';', not by ','\. Set "
          r"\"data\.delimiter=';'\"", make=file("x.csv", "id;text\n" + "1;one, two\n" * 30)),
    Fault("tabs for commas", CSV, r"x\.csv: its first line is separated by '\\t', not by ','\. Set \"data\.delimiter=tab\"",
          make=file("x.csv", "id\ttext\n" + "1\tone\n" * 30)),
    Fault("commas for tabs", CSV + "data.delimiter=tab", r"x\.csv: its first line is separated by ',', not by '\\t'\. Set ",
          make=file("x.csv", "id,text\n" + "1,one\n" * 30)),
    Fault("long delimiter", CSV + "data.delimiter=ab", r"data\.delimiter=ab: set one sign, ", make=file("x.csv", "text\na\n")),
    Fault("delimiter of JSON", JSONL + "data.delimiter=tab", r"data\.delimiter=tab: data=json has no cells to separate\."),
    Fault("more cells than names", CSV,
          r"data\.path=x\.csv: its rows have more cells than its first line has names\. Put a text that holds a ',' in ",
          make=file("x.csv", "text\n" + "one, two\n" * 30)),
    Fault("too few rows", JSONL, r"data \(x\.jsonl\): 1 row\(s\) are too few .* Use at least 3 rows",
          make=file("x.jsonl", '{"text": "a"}\n')),
    Fault(
        "test split empty",
        BASE.replace("{corpus}", "data"),
        r"data\.path=data/test\.jsonl is empty\. It is all there is for test\. Set data\.path",
        make=folder_with(test=""),
    ),
    Fault(
        "test split of empty texts",
        BASE.replace("{corpus}", "data"),
        r"data \(.*\): the test split holds no text, only 2 empty rows\. Set data with text for test",
        make=folder_with(test='{"text": ""}\n{"text": ""}\n'),
    ),
    Fault("only a test split", BASE.replace("{corpus}", "{corpus}/test.jsonl"), r"has no train split, only test\. Give one"),
    Fault("hub unreachable", "train data=hub data.name=acme/none logger=csv",
          r"data\.name=acme/none: the hub cannot be reached \(.*\)\.\nOffline: .*set data\.name=FOLDER"),
    Fault("tokenizer of the hub unreachable", BASE + "tokenizer=hub tokenizer.name=acme/none",
          r"tokenizer\.name=acme/none: the hub cannot be reached \(.*\)\.\nOffline: .*tokenizer\.path=FILE"),
    Fault("tokenizer file missing", BASE + "tokenizer=file tokenizer.path=t.json", r"path=t\.json: there is no t\.json in /"),
]  # fmt: skip
