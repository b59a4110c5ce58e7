"""Configurations: what is written is what is meant, and every mistake is told in one line that says how to mend it."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from aedist.config import Config, describe_keys, is_placement, sections
from aedist.configfile import differences, load_config, parse_config, read_yaml, to_yaml
from aedist.errors import UserError
from aedist.modelconfig import model_options

REPOSITORY = Path(__file__).parent.parent
BASE = "data: {shards: s}\nmodel: {kind: mlp}\n"
CONFIGS = sorted(path for path in (REPOSITORY / "configs").glob("*.yaml") if not path.name.startswith("sweep_"))


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "mine.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def mistakes(path: Path, *words: str) -> list[str]:
    """The lines that a configuration is refused with."""
    with pytest.raises(UserError) as refused:
        load_config(path, words)
    return str(refused.value).splitlines()


BAD = {
    "an unknown key, misspelt": (
        "optim: {warmup_image: 3}",
        "unknown key optim.warmup_image; did you mean optim.warmup_images?",
    ),
    "an unknown key that stands elsewhere": ("train: {lr: 0.1}", "unknown key train.lr; did you mean optim.lr?"),
    "a key outside its section": ("epochs: 3", "unknown key epochs; did you mean train.epochs?"),
    "an unknown key like none": (
        "optim: {learning_rate: 1}",
        "unknown key optim.learning_rate; optim has name, lr, betas,",
    ),
    "an unknown section": ("optimm: {lr: 0.1}", "unknown key optimm; did you mean optim?"),
    "a number for a key": ("3: 4", "unknown key 3; a configuration has run, data,"),
    "a key of two lines": ('"a\\nb": 4', "unknown key 'a\\nb'; a configuration has"),
    "text for a number": ("train: {epochs: many}", "train.epochs: 'many' is refused: it should be a valid integer"),
    "a fraction for a whole number": (
        "train: {epochs: 1.5}",
        "train.epochs: 1.5 is refused: it should be a valid integer",
    ),
    "1e-4 without a point": (
        "optim: {lr: 1e-4}",
        "optim.lr: '1e-4' is text, not a number; write 1.0e-4 without quotes",
    ),
    "2.5E3 for a whole number": (
        "train: {epochs: 2E3}",
        "train.epochs: '2E3' is text, not a number; write a whole number without quotes, such as 2000",
    ),
    "1e999 for a whole number": (
        "train: {epochs: 1e999}",
        "train.epochs: '1e999' is text, not a number; write a whole number without quotes, such as 10",
    ),
    "a number in quotes": ('optim: {lr: "0.5"}', "optim.lr: '0.5' is text, not a number; write 0.5 without quotes"),
    "a number for text": (
        "track: {project: 12}",
        "track.project: 12 is refused: it should be text; where it looks like something else, put it in quotes",
    ),
    "true for a number": ("optim: {lr: true}", "optim.lr: True is refused: it should be a valid number"),
    "no for a number": ("train: {epochs: no}", "train.epochs: 'no' is refused: it should be a valid integer"),
    "no for a choice": (
        "track: {wandb: off}",
        "track.wandb: 'off' is refused: it should be 'auto', 'offline', 'online' or 'disabled'",
    ),
    "sixty-based 1:30": ("train: {epochs: 1:30}", "train.epochs: '1:30' is refused: it should be a valid integer"),
    "nothing for a number": ("optim: {lr: }", "optim.lr: None is refused: it should be a valid number"),
    "below the range": ("batch: {micro: 0}", "batch.micro: 0 is refused: it should be greater than or equal to 1"),
    "above the range": ("optim: {betas: [0.9, 1.5]}", "optim.betas.1: 1.5 is refused: it should be less than 1"),
    "too few items": ("optim: {betas: [0.9]}", "optim.betas: [0.9] is refused: it has too few items"),
    "too many items": (
        "optim: {betas: [0.1, 0.2, 0.3]}",
        "optim.betas: [0.1, 0.2, 0.3] is refused: tuple should have at most 2 items",
    ),
    "a word for a list": ("track: {tags: fast}", "track.tags: 'fast' is refused: it should be a list, such as [a, b]"),
    "infinity": ("optim: {lr: .inf}", "optim.lr: inf is refused: it should be a finite number"),
    "more than a float holds": ("optim: {lr: 1.0e+999}", "optim.lr: inf is refused: it should be a finite number"),
    "not a number": (
        "objective: {squared_error: .nan}",
        "objective.squared_error: nan is refused: it should be a finite number",
    ),
    "no such choice": ("train: {reduce: slow}", "train.reduce: 'slow' is refused: it should be 'fast' or 'exact'"),
    "a size of another unit": ("batch: {}\ndata2: 1", "unknown key data2; did you mean data?"),
    "epochs and steps": (
        "train: {epochs: 1, steps: 2}",
        "give train.epochs or train.steps, not both (null unsets one)",
    ),
    "nothing to minimise": (
        "objective: {squared_error: 0}",
        "give at least one term of objective besides kl a weight above zero",
    ),
    "a step schedule without a length": (
        "optim: {schedule: step}",
        "give optim.drop_every_images with optim.schedule: step, and only with it",
    ),
    "a length without a step schedule": (
        "optim: {drop_every_images: 5}",
        "give optim.drop_every_images with optim.schedule: step, and only with it",
    ),
    "a KL without a posterior": ("objective: {kl: 1.0}", "give objective.kl, kl_warmup_images and free_nats to a var"),
    "a decay of one": ("train: {ema_decay: 1.0}", "train.ema_decay: 1.0 is refused: it should be less than 1"),
    "a list for a section": ("run: [1]", "run: [1] is refused: it should be a group of keys, such as {name: value}"),
    "nothing for a section": ("train:", "train: None is refused: it should be a group of keys, such as {name: value}"),
    "a very long value": (f"train: {{epochs: {'x' * 10_000}}}", "xxx... is refused: it should be a valid integer"),
    "a value of two lines": (
        'train: {epochs: "a\\nb"}',
        "train.epochs: 'a\\nb' is refused: it should be a valid integer",
    ),
}

BAD_AT_A_LINE = {
    "a key twice": ("train: {epochs: 1, epochs: 2}", "key 'epochs' is given twice; correct it"),
    "a section twice": ("model: {kind: mlp}", "key 'model' is given twice; correct it"),
    "no end of a bracket": ("train: [1", "expected ',' or ']', but got '<stream end>'; correct it"),
    "a tab": ("\ttrain: 1", "found character '\\t' that cannot start any token; correct it"),
    "two documents": (f"---\n{BASE}", "but found another document; correct it"),
    "a list for a key": ("? [1, 2]\n: 4", "a key must be a plain word; correct it"),
    "a group for a key": ("? {a: 1}\n: 4", "a key must be a plain word; correct it"),
    "an anchor": ("run: &r {dir: x}", "anchors (&), aliases (*) and tags (!) are not read here; correct it"),
    "an alias": ("run: *r", "anchors (&), aliases (*) and tags (!) are not read here; correct it"),
    "a tag": ("run: {dir: !!binary aGk=}", "anchors (&), aliases (*) and tags (!) are not read here; correct it"),
    "a tag that would be called": (
        "run: {dir: !!python/object/apply:os.getcwd []}",
        "anchors (&), aliases (*) and tags (!) are not read here; correct it",
    ),
    "a nest": (f"run: {'[' * 50_000}", "more than 20 levels of nesting; correct it"),
    "a closed nest": (f"run: {'[' * 900}{']' * 900}", "more than 20 levels of nesting; correct it"),
    "a nest of groups": (f"run: {'{a: ' * 30}{'}' * 30}", "more than 20 levels of nesting; correct it"),
    "a number of 5,000 digits": (f"train: {{epochs: {'9' * 5000}}}", "a number of too many digits; correct it"),
    "a zero byte": ('run: {dir: "a\\0b"}', "text with a zero byte; correct it"),
}


@pytest.mark.parametrize(("text", "told"), BAD.values(), ids=BAD)
def test_a_mistake_is_one_line_that_names_the_file_the_key_the_value_and_the_rule(
    tmp_path: Path, text: str, told: str
) -> None:
    path = write(tmp_path, BASE + text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}: ")
    assert told in line
    assert len(line) < len(str(path)) + 300


@pytest.mark.parametrize(("text", "told"), BAD_AT_A_LINE.values(), ids=BAD_AT_A_LINE)
def test_what_is_no_plain_yaml_is_one_line_that_names_the_line(tmp_path: Path, text: str, told: str) -> None:
    path = write(tmp_path, BASE + text)
    (line,) = mistakes(path)
    assert line.startswith(f"{path}, line ")
    assert line.endswith(told)


def test_the_line_is_the_one_at_fault(tmp_path: Path) -> None:
    text = f"# a remark\n\n{BASE}train:\n  epochs: 1\n  log_every: 3\n  epochs: 2\n"
    (line,) = mistakes(write(tmp_path, text))
    assert f"{tmp_path / 'mine.yaml'}, line 8: key 'epochs'" in line


def test_a_small_file_that_spells_a_huge_value_is_refused_before_it_is_made(tmp_path: Path) -> None:
    """Nine aliases of nine aliases ...: 500 bytes of text for 9 to the power of 30 words."""
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 31)]
    text = "\n".join(["l0: &l0 [x]", *levels, "track: {tags: *l30}", BASE])
    (line,) = mistakes(write(tmp_path, text))
    assert "line 1: anchors (&), aliases (*) and tags (!) are not read here" in line


@pytest.mark.parametrize("text", ["- a\n- b\n", "hello\n", "3\n", "[data, model]\n"])
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: str) -> None:
    (line,) = mistakes(write(tmp_path, text))
    assert line.endswith("mine.yaml: must hold sections of keys, such as 'train: {epochs: 10}'")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "is not UTF-8 text; name a configuration file"),
        (b"\x7fELF\x02\x01\x01\x00\x00", "is not YAML text: unacceptable character #x007f"),
        (b"data: {shards: \x01}", "is not YAML text: unacceptable character #x0001"),
    ],
)
def test_a_binary_file_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (line,) = mistakes(write(tmp_path, content))
    assert line.startswith(f"{tmp_path / 'mine.yaml'}: {told}")


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_no_file_whatever_is_more_than_a_mistake(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = write(tmp_path_factory.getbasetemp(), content)
    assert all(line.startswith(str(path)) for line in mistakes(path))


@given(st.text(st.sampled_from("{}[]:,-?&*!|>'\"%@`#~ \nab01.e"), max_size=30))
def test_no_value_whatever_is_more_than_a_mistake(tmp_path_factory: pytest.TempPathFactory, value: str) -> None:
    path = write(tmp_path_factory.getbasetemp(), f"{BASE}optim: {{lr: {value}}}")
    try:
        config = load_config(path)
    except UserError as error:
        config, told = None, str(error).splitlines()
        assert all(line.startswith(str(path)) for line in told)
    assert config is None or config.optim.lr > 0


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    fix = "name a configuration file"
    assert mistakes(tmp_path / "none.yaml") == [
        f"{tmp_path / 'none.yaml'}: cannot be read (No such file or directory); {fix}"
    ]
    assert mistakes(tmp_path) == [f"{tmp_path}: cannot be read (Is a directory); {fix}"]


def test_what_has_no_default_must_be_set(tmp_path: Path) -> None:
    for text in ("", "# nothing yet\n", "{}"):
        lines = mistakes(write(tmp_path, text))
        assert [line.partition(": ")[2] for line in lines] == [
            "data is not set and has no default; set it",
            "model is not set and has no default; set it",
        ]
    (line,) = mistakes(write(tmp_path, "data: {}\nmodel: {kind: mlp}"))
    assert line.endswith("data.shards is not set and has no default; set it")


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "train: {epochs: -1, reduce: slow}\noptim: {lr: fast, speed: 3}")
    keys = [line.removeprefix(f"{path}: ").partition(":")[0].partition(";")[0] for line in mistakes(path)]
    assert keys == ["optim.lr", "unknown key optim.speed", "train.epochs", "train.reduce"]


@pytest.mark.parametrize("memory", ["4GB", ".GiB", "-4GiB", "GiB", "4 gib", "1.2.3GiB", "4GiBs"])
def test_a_size_needs_a_unit_of_1024s(tmp_path: Path, memory: str) -> None:
    (line,) = mistakes(write(tmp_path, BASE), f"data.memory={memory}")
    assert line == f"command line: data.memory: {memory!r} is refused: must be a size such as 512MiB or 4GiB"


@pytest.mark.parametrize(
    ("memory", "count"), [("512MiB", 2**29), ("1.5 GiB", 3 * 2**29), ("1TiB", 2**40), ("8KiB", 8192), ("0", 0)]
)
def test_sizes_in_units_are_numbers_of_bytes(tmp_path: Path, memory: str, count: int) -> None:
    assert load_config(write(tmp_path, BASE), [f"data.memory={memory}"]).data.memory == count


def test_a_default_gives_way_to_the_file_and_the_file_to_a_word(tmp_path: Path) -> None:
    path = write(tmp_path, BASE + "batch: {micro: 5}\noptim: {lr: 0.5}")
    config = load_config(path, ["optim.lr=0.25", "train.steps=7"])
    assert (config.batch.num_micro, config.batch.micro, config.optim.lr) == (1, 5, 0.25)
    assert (config.train.steps, config.train.epochs) == (7, None)
    assert config.images_per_step == 5
    assert load_config(path, ["optim.lr=0.25", "optim.lr=0.125"]).optim.lr == 0.125, "the last word counts"


def test_ten_epochs_are_trained_where_no_length_is_given(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, BASE)).train.epochs == 10
    config = load_config(write(tmp_path, BASE + "train: {epochs: 3}"), ["train.epochs=null", "train.steps=4"])
    assert (config.train.epochs, config.train.steps) == (None, 4)


@pytest.mark.parametrize(
    ("word", "value"),
    [("1e-4", 1e-4), ("1E3", 1000.0), (".5", 0.5), ("2", 2.0), ("+2.5", 2.5), ("3.", 3.0), ("1.0e-4", 1e-4)],
)
def test_on_the_command_line_a_number_needs_no_care(tmp_path: Path, word: str, value: float) -> None:
    assert load_config(write(tmp_path, BASE), [f"optim.lr={word}"]).optim.lr == value


def test_words_hold_text_with_equals_signs_lists_and_nothing(tmp_path: Path) -> None:
    words = ["run.dir=runs/lr=0.1", "track.tags=[a, b=c]", "optim.clip_norm=null", "track.group=no"]
    config = load_config(write(tmp_path, BASE + "optim: {clip_norm: 1.0}"), words)
    assert config.run.dir == "runs/lr=0.1"
    assert config.track.tags == ("a", "b=c")
    assert config.optim.clip_norm is None
    assert config.track.group == "no"


def test_a_word_may_fill_a_section_that_the_file_leaves_empty(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, BASE + "train:"), ["train.epochs=2"]).train.epochs == 2


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("epochs=3", "epochs=3: must be section.key=value, such as train.epochs=3"),
        ("train.epochs", "train.epochs: must be section.key=value, such as train.epochs=3"),
        ("train.=3", "train.=3: must be section.key=value, such as train.epochs=3"),
        (".epochs=3", ".epochs=3: must be section.key=value, such as train.epochs=3"),
        ("", ": must be section.key=value, such as train.epochs=3"),
        ("train.epoch=3", "command line: unknown key train.epoch; did you mean train.epochs?"),
        ("trian.epochs=3", "command line: unknown key trian; did you mean train?"),
        ("optim.betas.0=0.5", "command line: unknown key optim.betas.0; did you mean optim.betas?"),
        ("train.epochs=x", "command line: train.epochs: 'x' is refused: it should be a valid integer"),
        ("train.epochs=1e3", "command line: train.epochs: 1000.0 is refused: it should be a valid integer"),
        ("train.epochs=[1", "train.epochs=[1, line 1: expected ',' or ']', but got '<stream end>'; correct it"),
        ("optim.lr=nan", "command line: optim.lr: 'nan' is refused: it should be a valid number"),
        ("optim.lr=1e999", "command line: optim.lr: inf is refused: it should be a finite number"),
        ("optim.betas=[2,0]", "command line: optim.betas.0: 2 is refused: it should be less than 1"),
    ],
)
def test_a_mistaken_word_is_told_as_the_command_lines(tmp_path: Path, word: str, told: str) -> None:
    assert mistakes(write(tmp_path, BASE), word) == [told]


def test_a_word_into_what_is_no_section_is_refused(tmp_path: Path) -> None:
    (line,) = mistakes(write(tmp_path, BASE + "train: [3]"), "train.epochs=3")
    assert line == "train.epochs=3: section train of the file is not a group of keys"


def test_the_run_directory_follows_from_the_files_name(tmp_path: Path) -> None:
    assert load_config(write(tmp_path, BASE)).run.dir == "runs/mine"
    assert load_config(write(tmp_path, BASE + 'run: {dir: "", seed: 3}')).run.dir == "runs/mine"
    assert load_config(write(tmp_path, BASE + "run: {dir: there}")).run.dir == "there"
    assert load_config(write(tmp_path, BASE), ["run.dir=here"]).run.dir == "here"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"),
        ("yes", "yes"),
        ("off", "off"),
        ("1:30", "1:30"),
        ("1_000", "1_000"),
        ("0x1f", "0x1f"),
        ("010", 10),
        ("-3", -3),
        ("2001-01-01", "2001-01-01"),
        ("1e5", "1e5"),
        ("1.0e5", 1e5),
        ("1.", 1.0),
        (".5", 0.5),
        ("true", True),
        ("null", None),
        ("~", None),
        ("'3'", "3"),
        ("<<", "<<"),
        ("=", "="),
    ],
)
def test_yaml_without_its_traps(text: str, value: object) -> None:
    read = read_yaml(f"key: {text}", "here")
    assert read == {"key": value}
    assert type(read["key"]) is type(value)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_configuration_of_the_repository_survives_being_written_whole(tmp_path: Path, path: Path) -> None:
    config = load_config(path)
    whole = tmp_path / "whole.yaml"
    whole.write_text(to_yaml(config), encoding="utf-8")
    assert load_config(whole) == config
    assert to_yaml(load_config(whole)) == to_yaml(config)
    assert set(yaml.safe_load(whole.read_text())) == set(sections()), "defaults are written too"


def test_there_are_configurations_in_the_repository() -> None:
    assert "mnist_ae" in [path.stem for path in CONFIGS]


@given(
    lr=st.floats(min_value=5e-324, allow_nan=False, allow_infinity=False),
    text=st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12),
    tags=st.lists(st.sampled_from(["no", "1e5", "010", "null", "&a", "a: b", "é", "1.5", "#", "- x"]), max_size=3),
    seed=st.integers(0, 2**63 - 1),
)
@example(lr=1.0, text="a\x85b\u2028c", tags=[], seed=0)
def test_any_configuration_survives_being_written(
    tmp_path_factory: pytest.TempPathFactory, lr: float, text: str, tags: list[str], seed: int
) -> None:
    given = {
        "data": {"shards": text},
        "model": {"kind": "mlp"},
        "run": {"dir": text, "seed": seed},
        "optim": {"lr": lr},
        "track": {"tags": tags + tags},
    }
    config = parse_config(given, "here")
    path = write(tmp_path_factory.getbasetemp(), to_yaml(config))
    assert load_config(path) == config


def test_every_key_of_every_section_has_a_sentence_and_says_whether_it_places_work() -> None:
    described = list(describe_keys())
    names = [f"{section}.{name}" for section, each in sections().items() for cls in each for name in cls.model_fields]
    assert [name for name, _, _ in described] == names
    assert len(names) > 30
    for name, _, sentence in described:
        assert sentence.endswith("."), name
        assert len(sentence.split()) >= 2, name
        assert isinstance(is_placement(*name.split(".")), bool)
    for section, field in Config.model_fields.items():
        assert field.description, section


def test_the_keys_of_one_kind_of_model_can_be_asked_for() -> None:
    of_conv = [(name, default) for name, default, _ in describe_keys("conv") if name.startswith("model.")]
    assert of_conv == [
        ("model.kind", "required"), ("model.latent_dim", "512"), ("model.width", "64"), ("model.depth", "4")
    ]  # fmt: skip
    assert {"run.seed", "train.epochs"} < {name for name, _, _ in describe_keys("conv")}


BAD_MODELS = {
    "no such kind": ("{kind: vit}", "model.kind: 'vit' is refused: it should be one of mlp, conv, vae, residual"),
    "no kind": ("{latent_dim: 3}", "model.kind is not set and has no default; set it"),
    "nothing": ("", "model: None is refused: it should be a group of keys, such as {kind: mlp}"),
    "a word": ("mlp", "model: 'mlp' is refused: it should be a group of keys, such as {kind: mlp}"),
    "another kind's key": (
        "{kind: conv, hidden_dim: 3}",
        "unknown key model.hidden_dim; did you mean model.latent_dim?",
    ),
    "no kind's key": ("{kind: conv, colour: 3}", "unknown key model.colour; a model of kind conv has kind, latent_dim"),
    "a bad value": ("{kind: vae, width: 0}", "model.width: 0 is refused: it should be greater than or equal to 1"),
    "no level": ("{kind: residual, channels: []}", "give model.channels at least one level"),
    "a level of nothing": ("{kind: residual, channels: [4, 0]}", "model.channels.1: 0 is refused"),
}


@pytest.mark.parametrize(("model", "told"), BAD_MODELS.values(), ids=BAD_MODELS)
def test_a_mistake_in_a_model_is_told_without_the_other_kinds(tmp_path: Path, model: str, told: str) -> None:
    (line,) = mistakes(write(tmp_path, f"data: {{shards: s}}\nmodel: {model}"))
    assert line.partition(": ")[2].startswith(told), line


def test_model_options_are_what_the_model_is_built_with() -> None:
    config = parse_config({"data": {"shards": "s"}, "model": {"kind": "mlp", "latent_dim": 7}}, "here")
    assert model_options(config.model, (3, 4, 1)) == {"image_shape": (3, 4, 1), "hidden_dim": 200, "latent_dim": 7}


def changed(section: str, name: str, value: object, **base: dict[str, Any]) -> list[str]:
    """What ``differences`` says of a configuration in which one key has another value."""
    values: dict[str, dict[str, Any]] = {"data": {"shards": "s"}, "model": {"kind": "mlp"}}
    for part, keys in base.items():
        values.setdefault(part, {}).update(keys)
    other = {part: dict(keys) for part, keys in values.items()}
    other.setdefault(section, {})[name] = value
    return differences(parse_config(values, "old"), parse_config(other, "new"))


OTHER_VALUES: dict[str, object] = {
    "run.dir": "there", "run.seed": 4, "data.shards": "t", "data.split": "all", "data.shuffle_shards": 3,
    "data.on_error": "quarantine",
    "data.mode": "stream", "data.workers": 5, "data.memory": 7, "data.cache": "c", "data.cache_bytes": 7,
    "data.stall_seconds": 7.0, "batch.micro": 3, "batch.num_micro": 3,
    "model.hidden_dim": 3, "model.latent_dim": 3, "objective.squared_error": 0.5, "objective.absolute_error": 1.0,
    "objective.cross_entropy": 1.0, "objective.lpips": 1.0, "objective.lpips_net": "vgg", "optim.name": "adamw",
    "optim.lr": 0.3, "optim.betas": (0.1, 0.2), "optim.eps": 0.1, "optim.weight_decay": 0.1, "optim.clip_norm": 1.0,
    "optim.schedule": "cosine", "optim.warmup_images": 3, "train.epochs": 20, "train.steps": 20,
    "train.precision": "bf16", "train.reduce": "exact", "train.fuse_rounds": "off", "train.threads": 3,
    "train.log_every": 3, "train.evaluate_every": 3, "train.checkpoint_every": 3, "train.keep_last": 3,
    "train.max_minutes": 3.0, "train.stall_minutes": 3.0,
    "train.max_bad_steps": 3, "train.ema_decay": 0.5, "optim.drop_factor": 0.5,
    "evaluate.split": "all", "evaluate.images": 3, "evaluate.batch": 3, "evaluate.in_training": "networks",
    "evaluate.fid_images": 3, "evaluate.fit_images": 3, "evaluate.lpips_net": "vgg",
    "track.wandb": "online", "track.project": "x",
    "track.group": "x", "track.tags": ("x",), "track.id": "x", "track.artifacts": "all",
}  # fmt: skip
PLACEMENT = {
    *("run.dir", "data.shards", "data.mode", "data.workers", "data.memory"),
    *("data.cache", "data.cache_bytes", "data.stall_seconds"),
    *("train.fuse_rounds", "train.log_every", "train.checkpoint_every", "train.keep_last"),
    *("train.max_minutes", "train.stall_minutes"),
    *("track.wandb", "track.project", "track.group", "track.tags", "track.id", "track.artifacts"),
}
ONE_VALUE = {
    "model.kind",
    "optim.drop_every_images",
    "objective.kl",
    "objective.kl_warmup_images",
    "objective.free_nats",
}
"""A change of these alone is refused for the model or schedule of the other keys."""


def test_placement_keys_are_free_and_every_key_that_decides_the_result_is_not() -> None:
    assert OTHER_VALUES.keys() | ONE_VALUE == {name for name, _, _ in describe_keys("mlp")}
    for path, value in OTHER_VALUES.items():
        found = changed(*path.split("."), value)
        if path in PLACEMENT or path in ("train.epochs", "train.steps"):
            assert found == [], path
        else:
            assert [line.partition(":")[0] for line in found] == [path]
    assert changed("optim", "lr", 0.5) == ["optim.lr: 0.001 there, 0.5 here"]


@pytest.mark.parametrize(("schedule", "free"), [("constant", True), ("cosine", False)])
def test_a_run_may_be_made_longer_only_where_the_rate_does_not_depend_on_its_length(schedule: str, free: bool) -> None:
    for name in ("epochs", "steps"):
        found = changed("train", name, 20, optim={"schedule": schedule}, train={name: 10})
        assert found == ([] if free else [f"train.{name}: 10 there, 20 here"])


def test_models_of_two_kinds_differ_in_their_kind_and_in_the_keys_that_both_have() -> None:
    mlp, conv = (parse_config({"data": {"shards": "s"}, "model": {"kind": kind}}, kind) for kind in ("mlp", "conv"))
    there = differences(mlp, conv)
    assert there == ["model.kind: mlp there, conv here", "model.latent_dim: 20 there, 512 here"]
    assert differences(conv, mlp) == ["model.kind: conv there, mlp here", "model.latent_dim: 512 there, 20 here"]
