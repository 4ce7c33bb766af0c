"""The words that come with recordings."""

from __future__ import annotations

from voxfleet_accuracy.texts import english_prompts, pocketsphinx_lines


def test_lines_of_a_transcription_are_read_by_name() -> None:
    content = "<s> ten of clubs  </s> (001)\n<s> five five  </s> (002)\n"
    assert pocketsphinx_lines(content) == {"001": "ten of clubs", "002": "five five"}


def test_a_prompt_is_read_with_what_its_speaker_says() -> None:
    content = (
        "; Core sounds\n\n"
        "agent-pass: Please enter your  password...\n"
        "conf-menu: Press 1 to umute all users\n"
        "digits/5: five\n"
        "tone: [this is a simple beep tone]\n"
        "keys: press * to toggle the pause\n"
        "modem: a 28.8 kilobit modem is fine\n"
        "extension: dial extension 1234 at once\n"
    )
    assert english_prompts(content) == {
        "agent-pass": "Please enter your password",
        "conf-menu": "Press 1 to unmute all users",
    }
