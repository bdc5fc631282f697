"""Asks diskimage-builder itself: reads a list of tasks as JSON, writes a list of answers as JSON."""

import collections
import contextlib
import functools
import importlib.machinery
import importlib.util
import io
import json
import os
import random
import sys

import diskimage_builder
from diskimage_builder import element_dependencies

ELEMENTS = os.path.join(os.path.dirname(diskimage_builder.__file__), "elements")


class Ordered(list):
    """A set that keeps an order, so that an order can be chosen."""

    def __sub__(self, other):
        return Ordered(name for name in self if name not in other)


@functools.lru_cache(maxsize=None)
def module(path):
    loader = importlib.machinery.SourceFileLoader("asked", os.path.join(ELEMENTS, path))
    made = importlib.util.module_from_spec(importlib.util.spec_from_loader("asked", loader))
    loader.exec_module(made)
    return made


def resolve(task):
    """Every way in which a choice of elements can end, whatever order their sets have."""
    found = element_dependencies._find_all_elements(":".join(task["path"]))
    ends = []
    for seed in range(8):
        chance = random.Random(seed)
        for element in found.values():
            names = sorted(element.depends)
            chance.shuffle(names)
            element.depends = Ordered(names)
        try:
            elements = element_dependencies._expand_element_dependencies(task["wanted"], found)
            end = {"elements": sorted(element.name for element in elements)}
        except element_dependencies.MissingElementException as error:
            end = {"missing": str(error).split("'")[1]}
        except element_dependencies.AlreadyProvidedException:
            end = {"provided": True}
        if end not in ends:
            ends.append(end)
    return ends


@contextlib.contextmanager
def environment(variables):
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def squash(task):
    """What elements install and remove, by phase."""
    squash = module("package-installs/bin/package-installs-squash")
    kept = collections.defaultdict(functools.partial(collections.defaultdict, list))
    try:
        with environment(task["environment"]), contextlib.redirect_stdout(io.StringIO()):
            for element in task["elements"]:
                for kind in ("json", "yaml"):
                    path = os.path.join(task["path"], element, "package-installs." + kind)
                    if os.path.exists(path):
                        with open(path) as file:
                            text = file.read()
                        try:
                            said = json.loads(text)
                        except ValueError:
                            said = squash.yaml.safe_load(text)
                        kept = squash.collect_data(kept, said, element)
    except BaseException as error:
        return {"error": repr(error)}
    lines = {
        " ".join([phase, what, package, element])
        for phase, whats in kept.items()
        for what, pairs in whats.items()
        for package, element in pairs
    }
    return {"lines": sorted(lines)}


def names(task):
    """What `pkg-map` says of one name."""
    out = io.StringIO()
    asked = ["pkg-map", "--missing-ok", "--pkg-map", task["file"], "--distro", task["distribution"]]
    before, sys.argv = sys.argv, asked + ["--release", task["release"], task["name"]]
    try:
        with contextlib.redirect_stdout(out):
            module("pkg-map/bin/pkg-map").main()
    except SystemExit as ended:
        return {"code": ended.code or 0, "lines": out.getvalue().splitlines()}
    finally:
        sys.argv = before


def services(task):
    """What the services of a `svc-map` are called."""
    merge = module("svc-map/extra-data.d/10-merge-svc-map-files")
    with open(task["file"]) as file:
        return merge.merge_data(merge.yaml.safe_load(file), {}, task["distribution"])


def elements(_):
    return ELEMENTS


TASKS = {"resolve": resolve, "squash": squash, "names": names, "services": services, "elements": elements}
json.dump([TASKS[task["what"]](task) for task in json.load(sys.stdin)], sys.stdout)
