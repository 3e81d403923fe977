"""Which part of the standard library a module belongs to, after the chapters of Python's library reference.

The chapters are those of https://docs.python.org/3/library/index.html, neighbours put together until each group has some
hundreds of docstrings. Modules that few would know where to look for are in none.
"""

from __future__ import annotations

from collections.abc import Mapping

OTHER = "other"
"""The group of the modules that the table does not name: leftovers, deprecated ones and topics."""

GROUPS: Mapping[str, str] = {
    # text processing, binary data, data types
    "text": "string re difflib textwrap stringprep codecs encodings struct datetime _pydatetime _strptime zoneinfo "
    "calendar collections _collections_abc heapq bisect weakref _weakrefset copy pprint reprlib enum graphlib types",
    # numeric and mathematical, functional programming
    "numbers": "numbers _pydecimal decimal _pylong fractions random statistics operator functools colorsys",
    # files and directories, persistence, compression, file formats
    "files": "pathlib os ntpath posixpath genericpath fileinput stat filecmp tempfile glob fnmatch linecache shutil "
    "pickle pickletools copyreg shelve dbm sqlite3 gzip bz2 lzma zipfile tarfile _compression csv configparser tomllib "
    "netrc plistlib _pyio io mimetypes",
    # generic services of the operating system, command lines, internationalization
    "system": "argparse optparse getopt getpass curses logging platform ctypes cmd shlex locale gettext pty tty pipes "
    "sysconfig site _osx_support webbrowser venv ensurepip signal",
    "concurrency": "asyncio threading _threading_local multiprocessing concurrent subprocess sched queue contextvars",
    # networking, mail, and the internet protocols but the web's
    "network": "socket ssl selectors asyncore asynchat email mailbox base64 quopri uu ftplib poplib imaplib nntplib "
    "smtplib smtpd telnetlib uuid socketserver ipaddress secrets hmac hashlib",
    # structured markup, the web's protocols
    "web": "html xml _markupbase http urllib xmlrpc wsgiref cgi cgitb json",
    "graphics": "tkinter turtle",
    # development tools, debugging and profiling
    "testing": "unittest doctest pdb bdb pydoc trace timeit profile cProfile pstats tracemalloc traceback warnings",
    # the runtime, importing, the language's own services
    "language": "importlib zipimport pkgutil modulefinder runpy imp inspect ast symtable token tokenize keyword dis opcode "
    "tabnanny pyclbr py_compile compileall abc _py_abc contextlib dataclasses typing code codeop rlcompleter __future__",
}
"""The top-level modules of each group; submodules belong to the group of their package."""

_GROUP = {module: group for group, modules in GROUPS.items() for module in modules.split()}


def group_of(module: str) -> str:
    """The group of a module by its dotted name, or OTHER."""
    return _GROUP.get(module.partition(".")[0], OTHER)
