"""A page that is run: what it prints is compared, and only what it leaves open may differ."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.rig.console_page import Shell, Step, fits, steps

PAGE = """# A page

```sh
cat > there.txt <<EOF
$HERE
EOF
```

```console
$ cat there.txt
home
$ false
$ echo $?
1
```
"""


@pytest.mark.parametrize(
    ("printed", "output", "same"),
    [
        (["NAME   AGE", "a   …s"], "NAME AGE\na    12s\n", True),
        (["a …"], "b 1\n", False),
        (["…", "end"], "1\n2\nend\n\n", True),
        (["…", "end"], "end\n", True),
        (["…", "end"], "end\nmore\n", False),
        (["0.0063 hours, 3 rows"], "0.1204 hours, 3 rows", True),
        (["0.0063 hours, 3 rows"], "0.0063 hours, 4 rows", False),
        ([], "", True),
        ([], "unexpected", False),
    ],
)
def test_only_what_the_page_leaves_open_may_differ(printed: list[str], output: str, same: bool) -> None:
    assert fits(printed, output) is same


def test_steps_share_one_shell_and_only_one_whose_code_is_asked_for_may_fail(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(PAGE)
    told = steps(page)
    assert [step.may_fail for step in told] == [False, False, True, False]
    with Shell(tmp_path, {"PATH": "/usr/bin:/bin", "HERE": "home"}) as shell:
        for step in told:
            shell.take(step)
        with pytest.raises(AssertionError, match="ended with 3"):
            shell.take(Step("page.md:1", "(exit 3)", ()))
        with pytest.raises(AssertionError, match=r"page\.md:2"):
            shell.take(Step("page.md:2", "echo another", ("one",)))
