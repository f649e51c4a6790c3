"""Make, adapt and measure language models.

    python -m recognizer.language gather --repositories CLONES --held-out TRANSCRIPTS --out TEXTS
    python -m recognizer.language words --text NAME=FILE[,FILE] ... --lexicon LEXICON --out LEXICON
    python -m recognizer.language train --text NAME=FILE[,FILE] ... --develop NAME=FILE[*SHARE] ... \\
        --lexicon LEXICON --keep 1300000 --out general.arpa.xz [--compact 4500000 --compact-out big.lm]
    python -m recognizer.language adapt --base general.arpa.xz --adapt SITE.txt --lexicon LEXICON --out site.arpa.xz
    python -m recognizer.language prune general.arpa.xz small.arpa.xz --keep 650000
    python -m recognizer.language perplexity general.arpa.xz --measure NAME=FILE ...
    python -m recognizer.language compact big.arpa.xz big.lm

Text files hold one sentence per line, as spoken: lower case, no punctuation, numbers in words. The exit status is 1
if something could not be read or made; the reason is one sentence on standard error.
"""

from __future__ import annotations

import argparse
import lzma
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recognizer.grapheme_to_phoneme import GraphemeModelError, GraphemeToPhoneme
from recognizer.language import compact_model
from recognizer.language.arpa_file import read_arpa, write_arpa
from recognizer.language.backoff_model import BackoffModel
from recognizer.language.held_out import HeldOut, Screening
from recognizer.language.new_words import missing_words, pronunciations
from recognizer.language.perplexity import Perplexity
from recognizer.language.pruning import pruned_to
from recognizer.language.text_sources import SOURCES, TextSourceError, documents
from recognizer.language.training_run import Recipe, Trained, measured, read_lines, train_mixture
from recognizer.language.vocabulary import word_counts
from recognizer.lexicon import LexiconError, read_lexicon, read_text
from recognizer.model_pack import PHONES

_OUT, _ERR = Console(soft_wrap=True), Console(stderr=True)
_GRAPH_LEVELS = 256
_OWN_SHARE = 0.1
_MOST_OF_SITE = 0.5  # its own text alone would have the general language forgotten


def _named(argument: str) -> tuple[str, list[Path]]:
    name, separator, paths = argument.partition("=")
    if not (name and separator and paths):
        raise argparse.ArgumentTypeError(f"{argument!r} is not of the form NAME=FILE")
    return name, [Path(path) for path in paths.split(",")]


def _shared(argument: str) -> tuple[str, tuple[Path, float]]:
    named, _, share = argument.partition("*")
    name, paths = _named(named)
    try:
        return name, (paths[0], float(share or 1.0))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{share!r} is no share") from error


def _numbers(argument: str) -> tuple[float, ...]:
    return tuple(float(number) for number in argument.split(","))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m recognizer.language", description="Make language models.")
    jobs = parser.add_subparsers(dest="job", required=True)
    gather = jobs.add_parser("gather", help="texts of the named public repositories, without what tests read")
    gather.add_argument(
        "--repositories", type=Path, required=True, help="folder of clones, OWNER/NAME or OWNER+NAME"
    )
    gather.add_argument(
        "--held-out", type=Path, required=True, help="transcripts of every test, a sentence per line"
    )
    gather.add_argument("--titles", type=Path, help="titles of the books that tests read, one per line")
    gather.add_argument("--only", action="append", default=[], help="name of a text; may be given several times")
    gather.add_argument("--out", type=Path, required=True, help="folder for NAME.txt")
    words = jobs.add_parser("words", help="add to a dictionary the words of texts that it lacks")
    words.add_argument("--lexicon", type=Path, required=True, help="dictionary, 'word PHONE ...' per line")
    words.add_argument("--most", type=int, default=24_000, help="how many words to add (%(default)s)")
    words.add_argument("--least", type=int, default=3, help="fewest occurrences of an added word (%(default)s)")
    words.add_argument("--out", type=Path, required=True, help="dictionary to write (.xz allowed)")
    train = jobs.add_parser("train", help="train on texts, mix, prune")
    for job in (words, train):
        job.add_argument("--text", action="append", default=[], type=_named, metavar="NAME=FILE[,FILE]")
    train.add_argument("--base", action="append", default=[], type=_named, metavar="NAME=ARPA")
    train.add_argument("--develop", action="append", default=[], type=_shared, metavar="NAME=FILE[*SHARE]")
    train.add_argument(
        "--words", type=int, default=Recipe.words, help="size of the vocabulary (default %(default)s)"
    )
    train.add_argument(
        "--always", type=Path, help="words that the vocabulary must have, if they can be pronounced"
    )
    train.add_argument("--order", type=int, default=Recipe.order, choices=[2, 3, 4])
    train.add_argument(
        "--weights", type=_numbers, default=(), help="of the texts, then the bases, separated by commas"
    )
    train.add_argument("--compact", type=int, default=0, metavar="NGRAMS", help="size of the model for rescoring")
    train.add_argument("--compact-out", type=Path, help="file for it")
    adapt = jobs.add_parser("adapt", help="interpolate a model with a site's own text")
    adapt.add_argument("--base", type=Path, required=True, help="ARPA file to start from")
    adapt.add_argument("--adapt", type=Path, action="append", required=True, help="the site's text")
    adapt.add_argument(
        "--weight", type=float, help="of the site's text; by default found on a tenth of it, at most 0.5"
    )
    for job in (train, adapt):
        job.add_argument("--lexicon", type=Path, required=True, help="dictionary, 'word PHONE ...' per line")
        job.add_argument("--keep", type=int, default=1_300_000, help="n-grams of two or more words (%(default)s)")
        job.add_argument(
            "--out", type=Path, required=True, help="ARPA file to write (.xz allowed), packed with .lm"
        )
    prune = jobs.add_parser("prune", help="make a model smaller")
    prune.add_argument("model", type=Path, help="ARPA file")
    prune.add_argument("out", type=Path, help="ARPA file to write (.xz allowed), packed with .lm")
    prune.add_argument("--keep", type=int, required=True, help="n-grams of two or more words")
    ppl = jobs.add_parser("perplexity", help="measure a model on texts")
    ppl.add_argument("model", type=Path, help="ARPA file or packed model")
    for job in (train, adapt, ppl):
        job.add_argument("--measure", action="append", default=[], type=_named, metavar="NAME=FILE")
    compact = jobs.add_parser("compact", help="quantise an ARPA file for rescoring")
    compact.add_argument("model", type=Path, help="ARPA file or packed model")
    compact.add_argument("out", type=Path)
    compact.add_argument("--levels", type=int, default=compact_model.LEVELS, choices=[64, 128, 256])
    return parser


def _gather(given: argparse.Namespace) -> None:
    titles = read_lines([given.titles]) if given.titles else []
    held_out = HeldOut(read_lines([given.held_out]), titles)
    given.out.mkdir(parents=True, exist_ok=True)
    begun: set[str] = set()
    table = Table("text", "repository", "documents", "read in tests", "duplicates", "sentences", "words")
    for source in SOURCES:
        if given.only and source.name not in given.only:
            continue
        report = Screening()
        with (given.out / f"{source.name}.txt").open(
            "a" if source.name in begun else "w", encoding="utf-8"
        ) as file:
            for lines in held_out.screen(documents(source, given.repositories), report):
                file.write("".join(line + "\n" for line in lines))
        begun.add(source.name)
        figures = (
            report.documents, len(report.documents_read_in_tests), len(report.duplicate_documents),
            report.sentences, report.words,
        )  # fmt: skip
        table.add_row(source.name, f"{source.repository} ({source.licence})", *(f"{n:,}" for n in figures))
        _ERR.print(f"{source.name}: {source.repository}, {report.words:,} words")
    _OUT.print(table)


def _add_words(given: argparse.Namespace) -> None:
    lexicon = read_lexicon(given.lexicon, PHONES)
    counts = {name: word_counts(read_lines(paths)) for name, paths in given.text}
    letters = GraphemeToPhoneme.load()
    added = 0
    for word in missing_words(counts, lexicon, given.most, given.least):
        found = pronunciations(word, lexicon, letters)
        if found:
            lexicon[word] = found
            added += 1
    lines = (f"{word} {' '.join(phones)}\n" for word in sorted(lexicon) for phones in lexicon[word])
    text = "".join(lines).encode()
    given.out.write_bytes(lzma.compress(text) if given.out.suffix == ".xz" else text)
    _OUT.print(f"{given.out.name}: {len(lexicon):,} words, {added:,} of them added")


def _write(model: BackoffModel, keep: int, out: Path) -> BackoffModel:
    small, threshold = pruned_to(model, keep)
    if out.suffix == ".lm":
        out.write_bytes(compact_model.pack(small, _GRAPH_LEVELS))
    else:
        write_arpa(small, out, digits=3)
    _OUT.print(f"{out.name}: n-grams {', '.join(f'{n:,}' for n in small.counts)}; pruned at {threshold:.2g}")
    return small


def _train(given: argparse.Namespace) -> None:
    pronounced = _words_of(given.lexicon)
    always = read_lines([given.always]) if given.always else []
    trained = train_mixture(
        dict(given.text), {name: paths[0] for name, paths in given.base}, dict(given.develop), pronounced,
        Recipe(order=given.order, words=given.words, fixed_weights=given.weights), always, _ERR.print,
    )  # fmt: skip
    _report_weights(trained)
    small = _write(trained.model, given.keep, given.out)
    columns = {"not pruned": trained.model, given.out.name: small}
    if given.compact_out:
        big, _ = pruned_to(trained.model, given.compact or sum(trained.model.counts))
        packed = compact_model.pack(big)
        given.compact_out.write_bytes(packed)
        _OUT.print(
            f"{given.compact_out.name}: n-grams {', '.join(f'{n:,}' for n in big.counts)}; {len(packed):,} bytes"
        )
        columns[given.compact_out.name] = compact_model.unpacked(packed).restored()
    _report_perplexity(columns, {name: paths[0] for name, paths in given.measure})


def _adapt(given: argparse.Namespace) -> None:
    pronounced = _words_of(given.lexicon)
    lines = read_lines(given.adapt)
    if len(lines) < 20:
        raise ValueError("The site's text has fewer than twenty sentences; too little to adapt to.")
    step = int(1 / _OWN_SHARE)
    given.out.parent.mkdir(parents=True, exist_ok=True)
    learned, judged = given.out.with_suffix(".learned.txt"), given.out.with_suffix(".judged.txt")
    try:
        learned.write_text("\n".join(line for i, line in enumerate(lines) if i % step), "utf-8")
        judged.write_text("\n".join(lines[::step]), "utf-8")
        base_words = [word for word in read_arpa(given.base).words if word in pronounced]
        most = {"site": _MOST_OF_SITE} if given.weight is None else {}
        fixed = () if given.weight is None else (given.weight, 1.0 - given.weight)
        trained = train_mixture(
            {"site": [learned]}, {"base": given.base}, {"site": (judged, 1.0)}, pronounced,
            Recipe(words=len(lines), fixed_weights=fixed, most=most), base_words, _ERR.print,
        )  # fmt: skip
    finally:
        learned.unlink(missing_ok=True)
        judged.unlink(missing_ok=True)
    _report_weights(trained)
    small = _write(trained.model, given.keep, given.out)
    _report_perplexity(
        {"base": read_arpa(given.base), given.out.name: small}, {name: paths[0] for name, paths in given.measure}
    )


def _words_of(lexicon: Path) -> dict[str, None]:
    words = dict.fromkeys(line.split(None, 1)[0] for line in read_text(lexicon).splitlines() if line.strip())
    if not words:
        raise LexiconError("The dictionary has no words.")
    return words


def _read_model(path: Path) -> BackoffModel:
    return compact_model.unpacked(path.read_bytes()).restored() if path.suffix == ".lm" else read_arpa(path)


def _report_weights(trained: Trained) -> None:
    _OUT.print("weights: " + ", ".join(f"{name} {weight:.3f}" for name, weight in trained.weights.items()))


def _report_perplexity(models: dict[str, BackoffModel], texts: dict[str, Path]) -> None:
    if not texts:
        return
    table = Table("text", *(f"{name}: perplexity" for name in models), "outside the vocabulary %")
    results = [measured(model, texts) for model in models.values()]
    for name in texts:
        of_text: Sequence[Perplexity] = [result[name] for result in results]
        cells = [f"{one.perplexity:.1f}" for one in of_text]
        table.add_row(name, *cells, " / ".join(f"{100 * one.unknown_rate:.2f}" for one in of_text))
    _OUT.print(table)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    given = _parser().parse_args(arguments)
    try:
        if given.job == "gather":
            _gather(given)
        elif given.job == "words":
            _add_words(given)
        elif given.job == "train":
            _train(given)
        elif given.job == "adapt":
            _adapt(given)
        elif given.job == "prune":
            _write(read_arpa(given.model), given.keep, given.out)
        elif given.job == "perplexity":
            texts = {name: paths[0] for name, paths in given.measure}
            _report_perplexity({given.model.name: _read_model(given.model)}, texts)
        else:
            given.out.write_bytes(compact_model.pack(_read_model(given.model), given.levels))
    except (OSError, GraphemeModelError, LexiconError, TextSourceError, ValueError) as error:
        _ERR.print(f"The language model was not made: {error}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
