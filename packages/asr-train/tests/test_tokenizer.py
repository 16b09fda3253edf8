import io
import unicodedata

import pytest
import sentencepiece

from asr_train.errors import UserError
from asr_train.tokenizer import KINDS, Tokenizer, normalize

ENGLISH = [
    "the quick brown fox jumps over the lazy dog",
    "pack my box with five dozen liquor jugs",
    "it's a quiet well-conducted little stream",
    "THAT HAD ITS SOURCE AWAY BACK IN THE WOODS",
]
KOREAN = [
    "안녕하세요 반갑습니다",
    "공 일 이 삼 사 오 육 칠 팔 구",
    "오늘 날씨가 참 좋네요",
    "1번 버스를 타고 왔어요",
]
MIXED = ["Ｆｕｌｌ width ﬁ ligature ²", "naïve café ½ …", *ENGLISH, *KOREAN]


def train(texts, **options):
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts), model_writer=model, hard_vocab_limit=False, minloglevel=2, **options
    )
    return model.getvalue()


def failure(call, *arguments, **options) -> str:
    with pytest.raises(UserError) as caught:
        call(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [ENGLISH, KOREAN, MIXED], ids=["english", "korean", "mixed"])
def test_round_trip(kind, texts):
    tokenizer = Tokenizer.train(texts, kind=kind, vocab_size=150)
    for text in texts:
        ids = tokenizer.encode(text)
        assert all(4 <= id_ < tokenizer.size for id_ in ids)  # no unknown, begin or end
        assert tokenizer.decode(ids) == unicodedata.normalize("NFC", text)


def test_text_is_composed_and_single_spaced():
    tokenizer = Tokenizer.train(KOREAN, kind="char")
    apart = unicodedata.normalize("NFD", KOREAN[0])
    assert apart != KOREAN[0]
    assert tokenizer.encode(f" \t{apart}\n") == tokenizer.encode(KOREAN[0])
    assert normalize(" a\u3000 b\n") == "a b"
    assert Tokenizer.train([unicodedata.normalize("NFD", text) for text in KOREAN], kind="char") == tokenizer


def test_ids_of_the_house():
    tokenizer = Tokenizer.train(ENGLISH, vocab_size=60)
    assert (tokenizer.pad, tokenizer.unknown, tokenizer.begin, tokenizer.end) == (0, 1, 2, 3)
    assert tokenizer.pieces[:4] == ("<pad>", "<unk>", "<s>", "</s>")
    assert tokenizer.size == len(tokenizer.pieces) == len(set(tokenizer.pieces)) == 60
    assert tokenizer.encode("") == [] and tokenizer.decode([]) == ""
    assert tokenizer.decode([2, 0, *tokenizer.encode("the fox"), 3, 0]) == "the fox"
    assert 1 in tokenizer.encode("語")


def test_char_takes_every_character():
    tokenizer = Tokenizer.train(["ab ba", "c"] * 3, kind="char", vocab_size=5)
    assert set(tokenizer.pieces[4:]) == {"▁", "a", "b", "c"}
    assert [tokenizer.pieces[id_] for id_ in tokenizer.encode("ba c")] == ["▁", "b", "a", "▁", "c"]


def test_bpe_merges_the_most_frequent_pair_first():
    assert Tokenizer.train(["axy bxy cxy dxy"], kind="bpe", vocab_size=12).pieces[4] == "xy"


@pytest.mark.parametrize("kind", KINDS)
def test_equal_texts_give_equal_bytes(kind):
    first, second = (Tokenizer.train(iter(MIXED), kind=kind, vocab_size=120) for _ in range(2))
    assert first.model == second.model


def test_few_texts_give_fewer_pieces():
    for kind in KINDS:
        tokenizer = Tokenizer.train(["one two", "two one"], kind=kind, vocab_size=1000)
        assert 4 + 6 <= tokenizer.size < 1000  # the space, o, n, e, t, w
        assert tokenizer.decode(tokenizer.encode("two one")) == "two one"


def test_long_texts_are_not_left_out():
    long = "ab " * 4000 + "z"  # by default SentencePiece leaves out what is longer than 4192 bytes
    assert 1 not in Tokenizer.train(["ab", long], kind="char").encode("z")


def test_training_says_nothing(capfd):
    Tokenizer.train(ENGLISH, vocab_size=60)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def test_saved_and_loaded(tmp_path):
    tokenizer = Tokenizer.train(MIXED, vocab_size=140)
    path = tmp_path / "new" / "tokenizer.model"
    tokenizer.save(path)
    assert Tokenizer.load(path) == tokenizer
    assert [file.name for file in path.parent.iterdir()] == ["tokenizer.model"]
    other = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert [other.encode(text) for text in MIXED] == [tokenizer.encode(text) for text in MIXED]


def test_a_foreign_model_keeps_its_ids():
    tokenizer = Tokenizer(train(ENGLISH, vocab_size=60, unk_id=0, bos_id=1, eos_id=2, pad_id=3))
    assert (tokenizer.unknown, tokenizer.begin, tokenizer.end, tokenizer.pad) == (0, 1, 2, 3)


@pytest.mark.parametrize(("missing", "options"), [("pad_id", {}), ("bos_id", {"bos_id": -1, "pad_id": 3})])
def test_a_model_without_a_needed_piece(missing, options):
    message = failure(Tokenizer, train(ENGLISH, vocab_size=60, **options))
    assert missing in message and "--" in message


@pytest.mark.parametrize("content", [b"", b"not a model", bytes(100), b"FilePath\tText\n"])
def test_not_a_model(tmp_path, content):
    path = tmp_path / "t.model"
    path.write_bytes(content)
    assert str(path) in failure(Tokenizer.load, path)


def test_no_model(tmp_path):
    assert "no such tokenizer" in failure(Tokenizer.load, tmp_path / "t.model")
    assert "cannot be read" in failure(Tokenizer.load, tmp_path)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("texts", [[], ["", "  "], ["a"], ["aaa a", "a"]])
def test_too_little_text(kind, texts):
    assert "two different characters" in failure(Tokenizer.train, texts, kind=kind)


def test_wrong_options():
    assert "unigram, bpe, char" in failure(Tokenizer.train, ENGLISH, kind="word")
    assert "single string" in failure(Tokenizer.train, "abc def")
    least = len(set("".join(KOREAN))) + 4
    message = failure(Tokenizer.train, KOREAN, vocab_size=least - 1)
    assert f"{least - 1}" in message and f"{least} or more" in message
    assert Tokenizer.train(KOREAN, vocab_size=least).size == least


def test_ids_out_of_range():
    tokenizer = Tokenizer.train(ENGLISH, vocab_size=60)
    for id_ in (-1, 60):
        with pytest.raises(ValueError, match=f"from 0 to 59, got {id_}"):
            tokenizer.decode([5, id_])
