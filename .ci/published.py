"""Reads `cargo metadata`: prints NAME VERSION of each package that is published, or fails with all that its fields lack."""

import json
import os
import re
import sys

# https://crates.io/category_slugs, as far as they fit.
CATEGORIES = {
    "command-line-utilities",
    "filesystem",
    "network-programming",
    "web-programming",
    "web-programming::http-client",
    "web-programming::http-server",
}

packages = [p for p in json.load(sys.stdin)["packages"] if p["publish"] is None]
published = {p["name"] for p in packages}
faults = []
for package in packages:
    name = package["name"]
    directory = os.path.dirname(package["manifest_path"])

    def check(holds, fault):
        if not holds:
            faults.append(f"{name}: {fault}")

    is_library = any("lib" in target["kind"] for target in package["targets"])
    for field in ("description", "license", "repository", "rust_version", "readme"):
        check(package[field], f"no {field}")
    check(len(package["description"] or "") <= 120, "a description of more than 120 characters")
    keywords = package["keywords"]
    check(1 <= len(keywords) <= 5, "one to five keywords are to be there")
    for keyword in keywords:
        check(re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,19}", keyword), f"{keyword!r} cannot be a keyword")
    check(1 <= len(package["categories"]) <= 5, "one to five categories are to be there")
    for category in package["categories"]:
        check(category in CATEGORIES, f"{category!r} is no category that is known here")
    for file in ("LICENSE-MIT", "LICENSE-APACHE", "README.md"):
        check(os.path.isfile(os.path.join(directory, file)), f"no {file}")
    for dependency in package["dependencies"]:
        needed = dependency["kind"] != "dev"
        local = dependency.get("path") is not None
        check(not (needed and local) or dependency["name"] in published, f"needs {dependency['name']}, which is not published")
        check(not needed or dependency["req"] != "*", f"takes any version of {dependency['name']}")
    if is_library:
        check(package["documentation"] == f"https://docs.rs/{name}", "documentation is not at docs.rs")
        docs = (package["metadata"] or {}).get("docs", {}).get("rs", {})
        check(docs.get("all-features"), "docs.rs does not show all features")
        check("docsrs" in docs.get("rustdoc-args", []), "docs.rs does not say what needs a feature")
        with open(os.path.join(directory, "src/lib.rs"), encoding="utf-8") as lib:
            check("#![cfg_attr(docsrs, feature(doc_cfg))]" in lib.read(), "lib.rs does not have doc_cfg for docs.rs")
    if "--release" in sys.argv:
        check(".example/" not in (package["repository"] or ""), "repository is not yet a real address")

if faults:
    sys.exit("\n".join(faults))
for package in packages:
    print(package["name"], package["version"])
