"""`spikeloom pdk`: the process design kits that are known, where they are, whether their files agree."""

from dataclasses import asdict
from typing import Annotated

import typer

from spikeloom.cli import JsonOption, VerboseOption
from spikeloom.ui import session

__all__ = ["pdk_app"]

pdk_app = typer.Typer(help="Process design kits: list, check.", no_args_is_help=True)

RootOption = Annotated[
    str | None,
    typer.Option("--pdk-root", help="folder with the kits (default: SPIKELOOM_PDK, PDK_ROOT, FLOW_HOME, ~/.ciel)"),
]


@pdk_app.command("list")
def list_pdks(pdk_root: RootOption = None, as_json: JsonOption = False, verbose: VerboseOption = False) -> None:
    """The kits that are known: process, licence, where they are, corners and memory macros that are there."""
    with session(as_json, verbose) as ui:
        from spikeloom.errors import ToolMissing

        from .pdks import all_pdks, find_pdk

        rows, found = [], []
        for pdk in all_pdks().values():
            row = {
                "name": pdk.name,
                "title": pdk.title,
                "node_nm": pdk.node_nm,
                "licence": pdk.licence,
                "manufacturable": pdk.manufacturable,
                "corners": list(pdk.corners),
            }
            try:
                installed = find_pdk(pdk, pdk_root)
            except ToolMissing as error:
                found.append({**row, "folder": None, "reason": str(error)})
                rows.append([pdk.name, f"{pdk.node_nm:g}", pdk.title, pdk.licence, "not found", "", ""])
                continue
            corners, macros = installed.corners(), installed.macros()
            here = {"folder": str(installed.folder), "corners_here": corners, "macros": sorted(macros)}
            found.append({**row, **here})
            rows.append(
                [pdk.name, f"{pdk.node_nm:g}", pdk.title, pdk.licence, here["folder"], ", ".join(corners), len(macros)]
            )
        ui.table("process design kits", ["name", "nm", "what", "licence", "folder", "corners", "macros"], rows)
        ui.done({"pdks": found})


@pdk_app.command("check")
def check(
    pdk: Annotated[str, typer.Argument(help="a name of `spikeloom pdk list`, or a TOML file that describes a kit")],
    pdk_root: RootOption = None,
    as_json: JsonOption = False,
    verbose: VerboseOption = False,
) -> None:
    """Read every file of a kit, and compare them with its description and with each other."""
    with session(as_json, verbose) as ui:
        from spikeloom.errors import SpikeloomError

        from .pdk_check import check_pdk
        from .pdks import find_pdk, pdk_named

        installed = find_pdk(pdk_named(pdk), pdk_root)
        with ui.progress("pdk check") as step:
            step(f"reading {installed.folder}", None)
            checks = check_pdk(installed)
        rows = [[each.what, "good" if each.good else "BAD", each.result] for each in checks]
        ui.table(f"{installed.pdk.name} in {installed.folder}", ["what", "", "found"], rows)
        wrong = [each.what for each in checks if not each.good]
        ui.done(
            {
                "name": installed.pdk.name,
                "folder": str(installed.folder),
                "checks": [asdict(each) for each in checks],
            }
        )
        if wrong:
            raise SpikeloomError(
                f"{installed.pdk.name}: {len(wrong)} of {len(checks)} checks failed: {', '.join(wrong)}"
            )
