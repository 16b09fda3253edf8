// The decoders' inner loops behind a C ABI: CTC prefix beam search with language models, CTC scores and
// alignments.
//
// The Python modules named above each section are the reference: they explain the mathematics, and what is
// here gives their numbers (tests/test_native*.py: to 1e-9) in their words. loader.py declares the functions
// of the last section to ctypes.
//
// Rules of this file: standard C++17; no global state; no exception leaves a function of the ABI; what comes
// from outside (frames, ids, model files, saved states) is checked before it is an index.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(_WIN32)
#define ABI extern "C" __declspec(dllexport)
#else
#define ABI extern "C" __attribute__((visibility("default")))
#endif

namespace {

constexpr int32_t ABI_VERSION = 2;  // as in loader.py: raised whenever a function or a struct below changes

enum Status : int32_t { OK, NO_MEMORY, FAULT, BAD_FRAME, BAD_STATE, BAD_TOKEN, IMPOSSIBLE, NO_SUCH_PREFIX };

constexpr double INF = std::numeric_limits<double>::infinity();

// -------------------------------------------------------------------------------- frames (frames.py)

constexpr double ROUNDING = 1e-3;  // as checks.ROUNDING: how far above 0 rounding may lift a log-probability

struct Preparation {
  int64_t logits;             // whether the frames are logits; otherwise log-probabilities
  int64_t top_k;              // 0: every token is possible
  double token_min_log_prob;  // -inf: every token is possible
  double cumulative;          // 0: every token is possible
};

struct Frame {
  double peak;   // the greatest input; frames are divided by their greatest probability
  double level;  // the logarithm of that probability
  double token;  // the logarithm of the greatest probability of a token, the blank left out, after that division
};

// The greatest of n values and `peak`, sixteen lanes at a time; false where one is above the limit or not a
// number.
template <class Real>
bool greatest(const Real* x, int64_t n, Real limit, Real& peak) {
  constexpr int LANES = 16;
  Real top[LANES];
  bool good = true;
  std::fill(top, top + LANES, peak);
  int64_t i = 0;
  for (; i + LANES <= n; i += LANES) {
    int fine = 0;
    for (int lane = 0; lane < LANES; ++lane) {
      const Real value = x[i + lane];
      top[lane] = value > top[lane] ? value : top[lane];
      fine += value <= limit;
    }
    good &= fine == LANES;
  }
  for (; i < n; ++i) {
    top[0] = x[i] > top[0] ? x[i] : top[0];
    good &= x[i] <= limit;
  }
  peak = *std::max_element(top, top + LANES);
  return good;
}

// False for what is no frame, and for one in which every token is impossible.
template <class Real>
bool inspect(const Real* x, int64_t V, int64_t blank, const Preparation& prepare, Frame& frame) {
  const Real limit = prepare.logits ? std::numeric_limits<Real>::max() : static_cast<Real>(ROUNDING);
  Real peak = -std::numeric_limits<Real>::infinity();
  bool good = greatest(x, blank, limit, peak);
  good &= greatest(x + blank + 1, V - blank - 1, limit, peak);
  const double token = peak;
  good &= greatest(x + blank, 1, limit, peak);
  if (!good || peak == -std::numeric_limits<Real>::infinity()) return false;
  frame.peak = frame.level = peak;
  frame.token = token - frame.peak;
  if (prepare.logits) {
    double sum = 0.0;
    for (int64_t token = 0; token < V; ++token) sum += std::exp(static_cast<double>(x[token]) - frame.peak);
    frame.level = -std::log(sum);
  }
  return true;
}

// The logarithm of the least probability, after division, of a token that is to be considered.
template <class Real>
double least_considered(const Real* x, int64_t V, const Preparation& prepare, const Frame& frame,
                        std::vector<double>& space) {
  double least = std::min(prepare.token_min_log_prob - frame.level, 0.0);
  const bool some = prepare.top_k > 0 && prepare.top_k < V;
  const bool sum = prepare.cumulative > 0 && std::exp(frame.level) < prepare.cumulative;
  if (some || sum) {
    space.clear();
    for (int64_t token = 0; token < V; ++token) space.push_back(static_cast<double>(x[token]) - frame.peak);
  }
  if (some) {
    const auto kth = space.begin() + static_cast<std::ptrdiff_t>(prepare.top_k - 1);
    std::nth_element(space.begin(), kth, space.end(), std::greater<double>());
    least = std::max(least, *kth);
  }
  if (sum) {
    std::sort(space.begin(), space.end(), std::greater<double>());
    double mass = 0.0, last = 0.0;
    for (const double log_prob : space) {
      last = log_prob;
      if ((mass += std::exp(log_prob + frame.level)) >= prepare.cumulative) break;
    }
    least = std::max(least, last);
  } else if (prepare.cumulative > 0) {
    least = 0.0;  // the best token is enough
  }
  return least;
}

// The greatest Real that is not above the number.
template <class Real>
Real not_above(double number) {
  const Real nearest = static_cast<Real>(number);
  return nearest <= number ? nearest : std::nextafter(nearest, -std::numeric_limits<Real>::infinity());
}

// ------------------------------------------------------------------ n-gram models (ngram/layout.py)

// The layouts come from files: every index that is read from one is checked against the size of what it is
// an index of, and where a file is broken something is not found.

struct Table {  // entries of a fixed size, packed, at any address
  const uint8_t* data;
  int64_t size;  // in entries
};

struct PackedOrder {
  const uint8_t* data;
  const uint8_t* probs;     // (2^prob_bits,) float32; null where not quantised
  const uint8_t* backoffs;  // (2^backoff_bits,) float32; null where not quantised
  const uint8_t* offsets;   // (num_offsets,) uint64; null where not array-compressed
  int64_t num_bytes, num_offsets, count, bits, word_bits, prob_at, prob_bits, backoff_at, backoff_bits;
  int64_t next_at, next_bits, next_count;
};

struct NGramArrays {  // loader.py: NGramArrays
  int64_t order;
  Table unigrams;
  const Table* middle;        // orders 2 ... order - 1 of hash tables
  Table longest;
  const PackedOrder* packed;  // orders 2 ... order of a trie; null for hash tables
};

template <class Value>
Value read(const uint8_t* at) {
  Value value;
  std::memcpy(&value, at, sizeof value);
  return value;
}

// Asks for memory that is read soon: tables are larger than caches, and several waits are no longer than one.
inline void fetch(const Table& table, int64_t entry_size, uint64_t key) {
#if defined(__GNUC__)
  if (table.size > 0)
    __builtin_prefetch(table.data + static_cast<int64_t>(key % static_cast<uint64_t>(table.size)) * entry_size);
#else
  static_cast<void>(table), static_cast<void>(entry_size), static_cast<void>(key);
#endif
}

// The entry of a key in a hash table whose entries begin with the key; null where there is none.
const uint8_t* find(const Table& table, int64_t entry_size, uint64_t key) {
  if (table.size <= 0) return nullptr;
  const int64_t start = static_cast<int64_t>(key % static_cast<uint64_t>(table.size));
  int64_t i = start;
  do {
    const uint8_t* entry = table.data + i * entry_size;
    const uint64_t found = read<uint64_t>(entry);
    if (found == 0) return nullptr;
    if (found == key) return entry;
    if (++i == table.size) i = 0;
  } while (i != start);
  return nullptr;
}

// In hash tables, the key of an n-gram with one more word of history.
inline uint64_t longer_key(uint64_t key, uint32_t history) {
  return (key * 8978948897894561157u) ^ ((uint64_t{1} + history) * 17894857484156487943u);
}

constexpr int64_t UNIGRAM = 8, TRIE_UNIGRAM = 16, MIDDLE = 16, LONGEST = 12, WORD = 12;  // bytes of an entry

// The n-grams (w), (w, h1), (w, h1, h2) ... of a model, one after the other.
class Lookup {
 public:
  float prob = 0.0f, backoff = 0.0f;

  Lookup(const NGramArrays& model, uint32_t word) : model_(model), key_(word) {
    const bool trie = model.packed != nullptr;
    const uint8_t* entry = model.unigrams.data + static_cast<int64_t>(word) * (trie ? TRIE_UNIGRAM : UNIGRAM);
    set(read<float>(entry), read<float>(entry + 4));
    if (!trie) return;
    prob = read<float>(entry);
    if (model.order < 2) return;
    const uint64_t count = static_cast<uint64_t>(model.packed[0].count);
    begin_ = std::min(read<uint64_t>(entry + 8), count);
    end_ = std::min(read<uint64_t>(entry + 24), count);
  }

  // Goes on to the next, which has one more word of history; false where it is not there.
  bool longer(uint32_t history) {
    ++length_;
    return model_.packed ? longer_in_trie(history) : longer_in_tables(history);
  }

 private:
  const NGramArrays& model_;
  int64_t length_ = 1;
  uint64_t key_;                  // of the hash tables
  bool more_ = false;             // whether a longer one begins so, where hash tables say it
  uint64_t begin_ = 0, end_ = 0;  // of the trie: the entries of the longer ones

  void set(float new_prob, float new_backoff) {
    more_ = !std::signbit(new_prob);
    prob = -std::abs(new_prob);
    backoff = new_backoff;
  }

  bool longer_in_tables(uint32_t history) {
    if (!more_) return false;
    key_ = longer_key(key_, history);
    const bool longest = length_ == model_.order;
    const uint8_t* entry =
        longest ? find(model_.longest, LONGEST, key_) : find(model_.middle[length_ - 2], MIDDLE, key_);
    if (!entry) return false;
    set(read<float>(entry + 8), longest ? 0.0f : read<float>(entry + 12));
    return true;
  }

  bool longer_in_trie(uint32_t history) {
    const PackedOrder& order = model_.packed[length_ - 2];
    uint64_t low = begin_, high = end_;
    while (low < high) {  // the first entry whose word is not before the history
      const uint64_t middle = low + (high - low) / 2;
      if (integer(order, middle, 0, order.word_bits) < history) low = middle + 1;
      else high = middle;
    }
    if (low >= end_ || integer(order, low, 0, order.word_bits) != history) return false;
    const bool longest = length_ == model_.order;
    const uint32_t sign = 0x80000000u;
    const uint32_t stored_prob = static_cast<uint32_t>(integer(order, low, order.prob_at, order.prob_bits));
    prob = order.probs ? read<float>(order.probs + 4 * int64_t{stored_prob}) : from_bits(stored_prob | sign);
    backoff = 0.0f;
    if (longest) return true;
    const uint32_t stored = static_cast<uint32_t>(integer(order, low, order.backoff_at, order.backoff_bits));
    backoff = order.backoffs ? read<float>(order.backoffs + 4 * int64_t{stored}) : from_bits(stored);
    begin_ = next(order, low);
    end_ = next(order, low + 1);
    return true;
  }

  static float from_bits(uint32_t bits) { return read<float>(reinterpret_cast<const uint8_t*>(&bits)); }

  // The integer of so many bits in a field of the entry.
  static uint64_t integer(const PackedOrder& order, uint64_t entry, int64_t field, int64_t bits) {
    const uint64_t at = entry * static_cast<uint64_t>(order.bits) + static_cast<uint64_t>(field);
    const uint64_t byte = at / 8, size = static_cast<uint64_t>(order.num_bytes);
    uint64_t word = 0;
    if (byte + 8 <= size) word = read<uint64_t>(order.data + byte);
    else if (byte < size) std::memcpy(&word, order.data + byte, static_cast<size_t>(size - byte));
    return (word >> (at % 8)) & ((uint64_t{1} << bits) - 1);
  }

  // Where the longer n-grams of the entry begin.
  static uint64_t next(const PackedOrder& order, uint64_t entry) {
    uint64_t value = integer(order, entry, order.next_at, order.next_bits);
    if (order.offsets) {
      int64_t low = 0, high = order.num_offsets;  // how many offsets are not above the entry
      while (low < high) {
        const int64_t middle = low + (high - low) / 2;
        if (read<uint64_t>(order.offsets + 8 * middle) <= entry) low = middle + 1;
        else high = middle;
      }
      if (low > 0) value |= static_cast<uint64_t>(low - 1) << order.next_bits;
    }
    return std::min(value, static_cast<uint64_t>(order.next_count));
  }
};

// Scores words after histories, which are rows of 2 * (order - 1) numbers: words, the last first, padded by
// -1, and the bits of their back-offs.
class NGram {
 public:
  explicit NGram(const NGramArrays& arrays) : arrays_(arrays), most_(static_cast<size_t>(arrays.order - 1)) {}

  size_t row() const { return 2 * most_; }

  bool has(uint32_t word) const {
    const int64_t size = arrays_.unigrams.size - (arrays_.packed ? 1 : 0);
    return static_cast<int64_t>(word) < size;
  }

  // ln p(word | history), and the history after it.
  double step(const int32_t* history, uint32_t word, int32_t* next) const {
    std::fill(next, next + most_, -1);
    std::fill(next + most_, next + row(), 0);
    if (!arrays_.packed) expect(history, word);
    Lookup found(arrays_, word);
    double log10 = found.prob;
    size_t matched = 1, kept = 0;  // length of the longest n-gram found; how many words are needed later
    for (size_t length = 1; length <= most_; ++length) {
      next[most_ + length - 1] = bits(found.backoff);
      if (!(found.backoff == 0.0f && std::signbit(found.backoff))) kept = length;
      if (history[length - 1] < 0 || !found.longer(static_cast<uint32_t>(history[length - 1]))) break;
      log10 = found.prob;
      matched = length + 1;
    }
    for (size_t length = matched; length <= most_ && history[length - 1] >= 0; ++length)
      log10 += read<float>(reinterpret_cast<const uint8_t*>(history + most_ + length - 1));
    for (size_t i = 0; i < kept; ++i) next[i] = i == 0 ? static_cast<int32_t>(word) : history[i - 1];
    std::fill(next + most_ + kept, next + row(), 0);
    return log10 * 2.302585092994046;
  }

  // Whether a row is a history of this model.
  bool is_history(const int32_t* history) const {
    bool padding = false;
    for (size_t i = 0; i < most_; ++i) {
      padding |= history[i] < 0;
      if (padding ? history[i] != -1 : !has(static_cast<uint32_t>(history[i]))) return false;
      if (!std::isfinite(read<float>(reinterpret_cast<const uint8_t*>(history + most_ + i)))) return false;
    }
    return true;
  }

 private:
  NGramArrays arrays_;
  size_t most_;  // words of history

  // Asks for the entries of all orders at once: their keys do not need each other's entries.
  void expect(const int32_t* history, uint32_t word) const {
    uint64_t key = word;
    for (size_t length = 1; length <= most_ && history[length - 1] >= 0; ++length) {
      key = longer_key(key, static_cast<uint32_t>(history[length - 1]));
      if (length == most_) fetch(arrays_.longest, LONGEST, key);
      else fetch(arrays_.middle[length - 1], MIDDLE, key);
    }
  }

  static int32_t bits(float number) { return read<int32_t>(reinterpret_cast<const uint8_t*>(&number)); }
};

// ---------------------------------------------------------------------------------- saved states

class Writer {
 public:
  std::vector<uint8_t> bytes;

  template <class Value>
  void put(const Value* values, size_t count) {
    const uint8_t* from = reinterpret_cast<const uint8_t*>(values);
    bytes.insert(bytes.end(), from, from + count * sizeof(Value));
  }
  template <class Value>
  void put(const Value& value) {
    put(&value, 1);
  }
};

class Reader {
 public:
  Reader(const uint8_t* bytes, size_t size) : at_(bytes), left_(size) {}

  size_t left() const { return left_; }

  // False where so many are not left.
  template <class Value>
  bool get(Value* values, size_t count) {
    if (count > left_ / sizeof(Value)) return false;
    if (count > 0) std::memcpy(values, at_, count * sizeof(Value));
    at_ += count * sizeof(Value);
    left_ -= count * sizeof(Value);
    return true;
  }
  template <class Value>
  bool get(Value& value) {
    return get(&value, 1);
  }
  template <class Value>
  bool get(std::vector<Value>& values, size_t count) {
    if (count > left_ / sizeof(Value)) return false;
    values.resize(count);
    return get(values.data(), count);
  }

 private:
  const uint8_t* at_;
  size_t left_;
};

// ------------------------------------------------------------ language models (fusion.py, language.py)

constexpr double SLACK = 1e-9;  // for rounding, where logarithms stand in for masses

// What one token does to a prefix.
struct Step {
  double language = 0.0, bonus = 0.0, lookahead = 0.0;
};

// Weighs the prefixes of one search; holds its state of every node of the trie.
class Context {
 public:
  virtual ~Context() = default;
  virtual void expect(int32_t, int32_t) {}  // that `step` is asked soon
  virtual Step step(int32_t node, int32_t token) = 0;
  virtual void grow(int32_t node, int32_t token) = 0;        // makes a node one token longer
  virtual Step finish(int32_t node) = 0;                     // what ending here adds

  // How much more than its bound a step from the node to the start of a word adds, at most: less than nothing.
  virtual double at_start_of_word(int32_t) { return 0.0; }

  virtual void keep(const std::vector<int32_t>& nodes) = 0;  // forgets the others
  virtual void save(Writer& writer) const = 0;
  virtual bool load(Reader& reader, size_t nodes) = 0;       // false where it cannot be what was saved
};

// A language model or hotwords: what is the same for all searches.
class Model {
 public:
  virtual ~Model() = default;
  virtual std::unique_ptr<Context> start() const = 0;  // with the state of the empty prefix

  // Whether the lookahead after the token may be better than the one before it.
  virtual bool starts_word(int32_t) const { return false; }
};

struct Scale {  // loader.py: Scale
  double lm_weight, word_bonus, unknown_log_prob;
  int64_t end;  // the number of </s>, -1 without sentence boundaries
};

// Copies of rows of a state, for all nodes in one array.
template <class Value>
void keep_rows(std::vector<Value>& values, size_t row, const std::vector<int32_t>& nodes) {
  size_t to = 0;
  for (const int32_t node : nodes)  // in order: nothing is overwritten before it is moved
    for (size_t i = 0; i < row; ++i) values[to++] = values[static_cast<size_t>(node) * row + i];
  values.resize(to);
}

// Appends a copy of a row, which may be one of the same array.
void copy_row(const std::vector<int32_t>& from, size_t number, size_t row, std::vector<int32_t>& to) {
  if (row == 0) return;
  const size_t end = to.size();
  to.resize(end + row);
  std::copy_n(&from[number * row], row, &to[end]);
}

double end_of_sentence(const NGram& lm, const Scale& scale, const int32_t* history, std::vector<int32_t>& space) {
  return scale.end < 0 ? 0.0 : scale.lm_weight * lm.step(history, static_cast<uint32_t>(scale.end), space.data());
}

struct WordArrays {  // loader.py: WordArrays; (V,) for every token
  NGramArrays ngram;
  Scale scale;
  Table lexicon;             // of the model
  Table hotwords;            // of the words in hotword phrases
  const int32_t* start;      // history of the first word
  const uint8_t* starts;     // (V,) whether a token starts a word
  const uint64_t* factor;    // (V,) of its letters, see lexicon.py
  const uint64_t* hash;      // (V,)
  const int64_t* characters;  // (V,)
};

class WordModel : public Model {
 public:
  WordModel(const WordArrays& from, size_t V) : arrays(from), lm(from.ngram), lookahead_(V, 0.0) {
    for (size_t token = 0; token < V; ++token)
      if (arrays.starts[token] && arrays.hash[token] != 0)
        lookahead_[token] = lookahead(find(arrays.hash[token]), arrays.characters[token]);
  }

  const WordArrays arrays;
  const NGram lm;

  std::unique_ptr<Context> start() const override;
  bool starts_word(int32_t token) const override { return arrays.starts[token]; }

  static constexpr int64_t BEGINNING = -1, NOTHING = -2;  // what a text is that is no word

  // The number of the word that the text is, 0, that of <unk>, for one of a hotword phrase; BEGINNING where
  // known words begin with it, NOTHING where none does.
  int64_t find(uint64_t hash) const {
    constexpr uint32_t NO_WORD = 0xFFFFFFFF;
    const uint64_t key = mix(hash);
    const uint8_t* word = ::find(arrays.lexicon, WORD, key);
    if (word && lm.has(read<uint32_t>(word + 8))) return read<uint32_t>(word + 8);
    const uint8_t* hot = ::find(arrays.hotwords, WORD, key);
    if (hot && read<uint32_t>(hot + 8) != NO_WORD) return 0;
    return word || hot ? BEGINNING : NOTHING;
  }

  void expect(uint64_t hash) const { fetch(arrays.lexicon, WORD, mix(hash)); }

  // The lookahead of an unfinished word that was found so.
  double lookahead(int64_t found, int64_t characters) const {
    constexpr double DEEPEST = -300.0;
    if (found != NOTHING) return 0.0;
    return std::max(arrays.scale.unknown_log_prob * std::max(static_cast<double>(characters) / 6, 1.0), DEEPEST);
  }

  // That after a token that starts a word: nothing that came before matters.
  double lookahead(int32_t token) const { return lookahead_[static_cast<size_t>(token)]; }

  // What language.py says that the end of a word adds at most.
  double bound() const { return std::max(arrays.scale.word_bonus, 0.0) + most_language(); }
  double most_language() const { return arrays.scale.lm_weight * ROUNDING; }

  double bonus(int64_t found) const {
    return arrays.scale.word_bonus + (found < 0 ? arrays.scale.unknown_log_prob : 0.0);
  }

 private:
  std::vector<double> lookahead_;  // (V,) of tokens that start a word

  static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93u;
    x = (x ^ x >> 32) * 0xD6E8FEB86659FD93u;
    x ^= x >> 32;
    return x == 0 ? 1 : x;
  }
};

// The state of every node: the hash and the characters of its unfinished word, the history of that word.
class WordContext : public Context {
 public:
  explicit WordContext(const WordModel& model)
      : model_(model),
        row_(model.lm.row()),
        found_(512, {0, WordModel::BEGINNING}),
        words_{{0, 0, -1}},
        histories_(model.arrays.start, model.arrays.start + row_),
        same_end_(1024, -1),
        space_(row_) {}

  void expect(int32_t node, int32_t token) override {
    if (model_.arrays.starts[token]) return;
    const uint64_t hash = spell(node, token).hash;
    if (place(hash).hash != hash) model_.expect(hash);
  }

  Step step(int32_t node, int32_t token) override {
    if (!model_.arrays.starts[token]) {
      const Word word = spell(node, token);
      return {0.0, 0.0, model_.lookahead(find(word.hash), word.characters)};
    }
    Step step{0.0, 0.0, model_.lookahead(token)};
    if (words_[node].hash == 0) return step;
    const End& ended = ends_[end(node)];
    step.language = ended.language;
    step.bonus = ended.bonus;
    return step;
  }

  // The word that ends is the same for all tokens, so the model is asked once. What is no word is hardly ever gone
  // on with: what is at most added tells it apart without asking.
  double at_start_of_word(int32_t node) override {
    const Word& word = words_[node];
    if (word.hash == 0) return -model_.bound();
    if (word.end < 0 && find(word.hash) < 0)
      return model_.bonus(WordModel::NOTHING) + model_.most_language() - model_.bound();
    const End& ended = ends_[end(node)];
    return ended.language + ended.bonus - model_.bound();
  }

  void grow(int32_t node, int32_t token) override {
    if (ends(node, token)) copy_row(end_histories_, end(node), row_, histories_);
    else copy_row(histories_, static_cast<size_t>(node), row_, histories_);
    words_.push_back(spell(node, token));
  }

  Step finish(int32_t node) override {
    Step step;
    const int32_t* last = history(node);
    if (words_[node].hash != 0) {
      const size_t ended = end(node);
      step.language = ends_[ended].language;
      step.bonus = ends_[ended].bonus;
      last = end_histories_.data() + ended * row_;
    }
    step.language += end_of_sentence(model_.lm, model_.arrays.scale, last, space_);
    return step;
  }

  void keep(const std::vector<int32_t>& nodes) override {
    keep_rows(words_, 1, nodes);
    keep_rows(histories_, row_, nodes);
    for (Word& word : words_) word.end = -1;
    ends_.clear();
    start_histories_.clear();
    end_histories_.clear();
    std::fill(same_end_.begin(), same_end_.end(), -1);
  }

  void save(Writer& writer) const override {
    writer.put(words_.data(), words_.size());
    writer.put(histories_.data(), histories_.size());
  }

  bool load(Reader& reader, size_t nodes) override {
    if (!reader.get(words_, nodes) || !reader.get(histories_, nodes * row_)) return false;
    for (size_t i = 0; i < nodes; ++i) {
      words_[i].end = -1;
      if (words_[i].characters < 0 || !model_.lm.is_history(history(static_cast<int32_t>(i)))) return false;
    }
    return true;
  }

 private:
  struct Word {
    uint64_t hash;       // 0 where there is no unfinished word
    int32_t characters;  // may be 0 where there is one: its bytes only go on with a character
    int32_t end;         // where in ends_ it is known what its end adds; -1 where it is not known yet
  };
  struct End {
    uint64_t hash;  // of the word
    double language, bonus;
  };

  struct Found {
    uint64_t hash;
    int64_t number;  // as of WordModel::find
  };

  const WordModel& model_;
  size_t row_;
  std::vector<Found> found_;  // by hash: a beam's prefixes have few unfinished words between them
  std::vector<Word> words_;
  std::vector<int32_t> histories_;  // rows
  std::vector<End> ends_;
  std::vector<int32_t> start_histories_;  // rows, before the word
  std::vector<int32_t> end_histories_;  // rows, after the word
  std::vector<int32_t> same_end_;  // in ends_, by word and history: prefixes differ in what is longer ago, too
  std::vector<int32_t> space_;

  const int32_t* history(int32_t node) const { return histories_.data() + static_cast<size_t>(node) * row_; }

  Found& place(uint64_t hash) { return found_[(hash * 0x9E3779B97F4A7C15u >> 32) % found_.size()]; }

  // As WordModel::find, which is asked where the answer was not remembered. The empty word is a BEGINNING.
  int64_t find(uint64_t hash) {
    Found& found = place(hash);
    if (found.hash != hash) found = {hash, hash == 0 ? WordModel::BEGINNING : model_.find(hash)};
    return found.number;
  }

  bool ends(int32_t node, int32_t token) const {
    return model_.arrays.starts[token] && words_[node].hash != 0;
  }

  Word spell(int32_t node, int32_t token) const {
    Word word{0, 0, -1};
    if (!model_.arrays.starts[token]) word = {words_[node].hash, words_[node].characters, -1};
    word.hash = word.hash * model_.arrays.factor[token] + model_.arrays.hash[token];
    word.characters += static_cast<int32_t>(model_.arrays.characters[token]);
    return word;
  }

  // The end of the unfinished word, as a number in ends_.
  size_t end(int32_t node) {
    Word& word = words_[node];
    if (word.end < 0) {
      const int32_t* before = history(node);
      uint64_t key = word.hash;
      for (size_t i = 0; i < row_ / 2; ++i) key = longer_key(key, static_cast<uint32_t>(before[i]));
      int32_t& same = same_end_[(key >> 32) % same_end_.size()];
      if (same < 0 || ends_[same].hash != word.hash || !std::equal(before, before + row_, start_history(same)))
        same = ask(word.hash, before);
      word.end = same;
    }
    return static_cast<size_t>(word.end);
  }

  const int32_t* start_history(int32_t end) const { return start_histories_.data() + static_cast<size_t>(end) * row_; }

  int32_t ask(uint64_t hash, const int32_t* before) {
    const int64_t found = find(hash);
    const uint32_t known = static_cast<uint32_t>(std::max<int64_t>(found, 0));  // 0 is <unk>
    const double log_prob = model_.lm.step(before, known, space_.data());
    ends_.push_back({hash, model_.arrays.scale.lm_weight * log_prob, model_.bonus(found)});
    start_histories_.insert(start_histories_.end(), before, before + row_);
    end_histories_.insert(end_histories_.end(), space_.begin(), space_.end());
    return static_cast<int32_t>(ends_.size()) - 1;
  }
};

std::unique_ptr<Context> WordModel::start() const { return std::make_unique<WordContext>(*this); }

struct TokenArrays {  // loader.py: TokenArrays
  NGramArrays ngram;
  Scale scale;
  const int32_t* start;    // history of the first token
  const int64_t* numbers;  // (V,) of the tokens, in the model
  const double* bonus;     // (V,)
};

class TokenModel : public Model {
 public:
  explicit TokenModel(const TokenArrays& from) : arrays(from), lm(from.ngram) {}

  const TokenArrays arrays;
  const NGram lm;

  std::unique_ptr<Context> start() const override;
};

// The state of every node: its history.
class TokenContext : public Context {
 public:
  explicit TokenContext(const TokenModel& model)
      : model_(model),
        row_(model.lm.row()),
        histories_(model.arrays.start, model.arrays.start + row_),
        space_(row_) {}

  Step step(int32_t node, int32_t token) override {
    return {model_.arrays.scale.lm_weight * query(node, token), model_.arrays.bonus[token], 0.0};
  }
  void grow(int32_t node, int32_t token) override {
    query(node, token);
    histories_.insert(histories_.end(), space_.begin(), space_.end());
  }
  Step finish(int32_t node) override {
    return {end_of_sentence(model_.lm, model_.arrays.scale, history(node), space_)};
  }
  void keep(const std::vector<int32_t>& nodes) override { keep_rows(histories_, row_, nodes); }
  void save(Writer& writer) const override { writer.put(histories_.data(), histories_.size()); }
  bool load(Reader& reader, size_t nodes) override {
    if (!reader.get(histories_, nodes * row_)) return false;
    for (size_t i = 0; i < nodes; ++i)
      if (!model_.lm.is_history(history(static_cast<int32_t>(i)))) return false;
    return true;
  }

 private:
  const TokenModel& model_;
  size_t row_;
  std::vector<int32_t> histories_;  // rows
  std::vector<int32_t> space_;

  const int32_t* history(int32_t node) const { return histories_.data() + static_cast<size_t>(node) * row_; }

  double query(int32_t node, int32_t token) {
    const uint32_t number = static_cast<uint32_t>(model_.arrays.numbers[token]);
    return model_.lm.step(history(node), number, space_.data());
  }
};

std::unique_ptr<Context> TokenModel::start() const { return std::make_unique<TokenContext>(*this); }

// ---------------------------------------------------------------------------- hotwords (hotwords.py)

struct HotwordArrays {  // loader.py: HotwordArrays
  int64_t states, classes, width;
  const int64_t* following;  // (states, classes) the state after a byte of that class
  const double* weight;      // (states, classes) what the byte adds
  const double* finish;      // (states,) what ending adds
  const int64_t* lengths;    // (V,) how many bytes a token spells
  const int64_t* spelt;      // (V, width) their classes
};

class HotwordModel : public Model {
 public:
  explicit HotwordModel(const HotwordArrays& from) : arrays(from) {}

  const HotwordArrays arrays;

  std::unique_ptr<Context> start() const override;
};

// The state of every node is one of the automaton.
class HotwordContext : public Context {
 public:
  explicit HotwordContext(const HotwordModel& model) : arrays_(model.arrays), states_{0} {}

  Step step(int32_t node, int32_t token) override {
    int64_t state = states_[node];
    return {0.0, follow(state, token), 0.0};
  }
  void grow(int32_t node, int32_t token) override {
    int64_t state = states_[node];
    follow(state, token);
    states_.push_back(state);
  }
  Step finish(int32_t node) override { return {0.0, arrays_.finish[states_[node]], 0.0}; }
  void keep(const std::vector<int32_t>& nodes) override { keep_rows(states_, 1, nodes); }
  void save(Writer& writer) const override { writer.put(states_.data(), states_.size()); }
  bool load(Reader& reader, size_t nodes) override {
    if (!reader.get(states_, nodes)) return false;
    return std::all_of(states_.begin(), states_.end(), [&](int64_t s) { return s >= 0 && s < arrays_.states; });
  }

 private:
  const HotwordArrays& arrays_;
  std::vector<int64_t> states_;

  double follow(int64_t& state, int32_t token) const {
    double total = 0.0;
    for (int64_t i = 0; i < arrays_.lengths[token]; ++i) {
      const int64_t at = state * arrays_.classes + arrays_.spelt[token * arrays_.width + i];
      total += arrays_.weight[at];
      state = arrays_.following[at];
    }
    return total;
  }
};

std::unique_ptr<Context> HotwordModel::start() const { return std::make_unique<HotwordContext>(*this); }

// Several models as one: what they add is added up.
class Fusion {
 public:
  std::vector<std::unique_ptr<Model>> models;

  Fusion(const double* bound, int64_t V)
      : bound_(bound, bound + V),
        starts_(bound_.size(), 0),
        most_(std::exp(*std::max_element(bound, bound + V) + SLACK)) {}

  // At least what a step by each token adds (V,), and exp of the greatest of these.
  const std::vector<double>& bound() const { return bound_; }
  double most() const { return most_; }

  void add(std::unique_ptr<Model> model) {
    for (size_t token = 0; token < starts_.size(); ++token)
      starts_[token] |= model->starts_word(static_cast<int32_t>(token));
    models.push_back(std::move(model));
  }

  // Whether the lookahead after the token may be better than the one before it.
  bool starts_word(int32_t token) const { return starts_[static_cast<size_t>(token)]; }

 private:
  std::vector<double> bound_;
  std::vector<uint8_t> starts_;
  double most_;
};

// --------------------------------------------------------------------------------- trie (trie.py)

// A prefix as a number. A prefix that leaves the beam and comes back has its old number, by which its
// children know it. Parents come before their children.
struct Node {
  int32_t parent;  // -1 for the root
  int32_t token;   // the last one; the blank for the empty prefix
  int32_t row;     // in the beam, -1 where it is not
};

class Trie {
 public:
  std::vector<Node> nodes;

  explicit Trie(int32_t root_token) : nodes{{-1, root_token, -1}}, slots_(64, -1) {}

  // The node one token longer, a new one where there is none yet.
  int32_t child(int32_t parent, int32_t token) {
    const size_t slot = place(parent, token);
    if (slots_[slot] >= 0) return slots_[slot];
    const int32_t node = static_cast<int32_t>(nodes.size());
    nodes.push_back({parent, token, -1});
    slots_[slot] = node;
    if (nodes.size() * 2 > slots_.size()) index();
    return node;
  }

  // Puts the nodes into the hash table, anew.
  void index() {
    size_t size = 64;
    while (size < 4 * nodes.size()) size *= 2;
    slots_.assign(size, -1);
    for (size_t i = 1; i < nodes.size(); ++i)
      slots_[place(nodes[i].parent, nodes[i].token)] = static_cast<int32_t>(i);
  }

  // The tokens after the root's, in order.
  std::vector<int32_t> tokens(int32_t node) const {
    std::vector<int32_t> found;
    for (; nodes[node].parent >= 0; node = nodes[node].parent) found.push_back(nodes[node].token);
    std::reverse(found.begin(), found.end());
    return found;
  }

  // Frees the nodes under which there is nothing of the beam, and those above all of it: the tokens that
  // all prefixes of the beam have in common are appended to `common`, and the last of them is the new root.
  // Returns the old numbers of the nodes that are left, in order.
  std::vector<int32_t> collect(std::vector<int32_t>& common) {
    std::vector<int32_t> live_children(nodes.size(), 0), number(nodes.size(), -1), kept;
    std::vector<bool> live(nodes.size(), false);
    for (size_t i = nodes.size(); i-- > 0;) {  // children before their parents
      live[i] = nodes[i].row >= 0 || live_children[i] > 0;
      if (live[i] && nodes[i].parent >= 0) ++live_children[nodes[i].parent];
    }
    size_t root = 0;
    for (size_t i = 1; nodes[root].row < 0 && live_children[root] == 1; ++i) {
      if (!live[i]) continue;  // the next live node is the only child of the root
      root = i;
      common.push_back(nodes[i].token);
    }
    for (size_t i = root; i < nodes.size(); ++i) {
      if (!live[i]) continue;
      number[i] = static_cast<int32_t>(kept.size());
      const Node& node = nodes[i];
      nodes[kept.size()] = {i == root ? -1 : number[node.parent], node.token, node.row};
      kept.push_back(static_cast<int32_t>(i));
    }
    nodes.resize(kept.size());
    index();
    return kept;
  }

 private:
  std::vector<int32_t> slots_;  // nodes by (parent, token): an open hash table, -1 where it is free

  size_t place(int32_t parent, int32_t token) const {
    const uint64_t key = static_cast<uint64_t>(static_cast<uint32_t>(parent)) << 32 | static_cast<uint32_t>(token);
    const size_t mask = slots_.size() - 1;
    size_t slot = static_cast<size_t>(key * 0x9E3779B97F4A7C15u >> 29) & mask;
    for (; slots_[slot] >= 0; slot = (slot + 1) & mask) {
      const Node& node = nodes[slots_[slot]];
      if (node.parent == parent && node.token == token) break;
    }
    return slot;
  }
};

// ----------------------------------------------------------------------------- search (search.py)

// The recursion is explained in search.py:
//
//   blank'(l) = total(l) p(blank)
//   label'(l) = (label(l) + entry(l)) p(c)       entry(l) = gain(l) (total(k), or blank(k) for a c after a c)
//
// Where nothing can enter the beam, a frame is one pass over its rows (`stay`); only where something can
// are tokens looked at (`extend`) and rows moved (`select`).

constexpr double SMALL = 1e-60;  // the best mass is kept between this and its inverse
constexpr double MOST = 1e200;   // gains above it are faults of a model
constexpr uint64_t STATE_MARK = 0x3130657461745341;  // "AState01"

struct SearchOptions {  // loader.py: SearchOptions
  int64_t blank;
  int64_t beam_size;
  double beam_threshold;  // in nats
  Preparation prepare;
};

struct Likely {
  double p;
  double most;  // what fusion can make of it at best: a factor
  int32_t token;
};

struct Extension {
  double rank;  // the mass with the lookahead
  double mass;
  int32_t row;  // its parent's, in the beam
  int32_t token;
};

struct Path {
  double rank, acoustic, language, bonus;
  std::vector<int32_t> tokens;
};

// Lets the greatest of the values through, as many as there are places; of equal ones, the first.
class Gate {
 public:
  double least = 0.0;  // the least that may pass, where there are more values than places

  Gate(std::vector<double>& values, size_t places) : ties_(values.size()) {
    if (values.size() <= places) return;
    const auto nth = values.begin() + static_cast<std::ptrdiff_t>(places - 1);
    std::nth_element(values.begin(), nth, values.end(), std::greater<double>());
    least = *nth;
    ties_ = places - static_cast<size_t>(std::count_if(values.begin(), nth, [&](double v) { return v > least; }));
  }

  bool admits(double value) {
    if (value != least) return value > least;
    return ties_ > 0 && ties_-- > 0;
  }

 private:
  size_t ties_;  // how many of those equal to the least may pass
};

class Search {
 public:
  // fusion: of language models and hotwords, or null.
  Search(const SearchOptions& options, const Fusion* fusion)
      : options_(options),
        least_ratio_(std::exp(-options.beam_threshold)),
        fusion_(fusion),
        trie_(static_cast<int32_t>(options.blank)) {
    options_.beam_size = std::max<int64_t>(1, std::min(options.beam_size, int64_t{1} << 40));
    if (fusion_) {
      for (const auto& model : fusion_->models) contexts_.push_back(model->start());
      worth_.push_back({1.0, 1.0, 0.0, 0.0});
    }
    next_.add(0, static_cast<int32_t>(options.blank), 1.0, 0.0);
    enter();
  }

  // Reads T frames; `bad` is the number of the first that is none. Where it fails the search is over.
  template <class Real>
  Status run(const Real* x, int64_t T, int64_t V, int64_t& bad) {
    if (options_.blank >= V || (fusion_ && static_cast<int64_t>(fusion_->bound().size()) != V)) return BAD_STATE;
    const auto known = [&](int32_t token) { return token >= 0 && token < V; };
    if (!std::all_of(common_.begin(), common_.end(), known)) return BAD_STATE;
    for (const Node& node : trie_.nodes)
      if (!known(node.token)) return BAD_STATE;
    p_.resize(static_cast<size_t>(V));
    marked_.resize(static_cast<size_t>(V), 0);
    std::vector<Frame> frames(static_cast<size_t>(T));
    for (bad = 0; bad < T; ++bad)
      if (!inspect(x + bad * V, V, options_.blank, options_.prepare, frames[bad])) return BAD_FRAME;
    for (int64_t t = 0; t < T; ++t)
      if (!step(x + t * V, frames[t])) return IMPOSSIBLE;
    return OK;
  }

  // As `Backend.settle`: prefixes that do not begin with the tokens leave the beam; appends what all others
  // begin with, and forgets it.
  Status settle(const int32_t* tokens, size_t length, std::vector<int32_t>& common) {
    const size_t known = std::min(length, common_.size());
    if (!std::equal(tokens, tokens + known, common_.begin())) return NO_SUCH_PREFIX;
    next_.clear();
    for (size_t k = 0; k < size(); ++k) {
      const std::vector<int32_t> prefix = trie_.tokens(rows_.node[k]);
      if (prefix.size() < length - known || !std::equal(tokens + known, tokens + length, prefix.begin())) continue;
      next_.add(rows_.node[k], rows_.last[k], total_[size() + k], rows_.label[k]);
    }
    if (next_.node.empty()) return NO_SUCH_PREFIX;
    enter();
    collect();
    common.swap(common_);
    common_.clear();
    return OK;
  }

  // As `Backend.paths`.
  std::vector<Path> paths(size_t count, bool final) {
    std::vector<Path> found(size());
    std::vector<int32_t> order;
    for (size_t k = 0; k < size(); ++k) {
      Path& path = found[k];
      path.rank = path.acoustic = std::log(total_[k]) + log_scale_;
      path.language = path.bonus = 0.0;
      if (fusion_) weigh(rows_.node[k], final, path);
      if (path.rank > -INF) order.push_back(static_cast<int32_t>(k));  // and a number
    }
    std::stable_sort(order.begin(), order.end(), [&](int32_t a, int32_t b) { return found[a].rank > found[b].rank; });
    order.resize(std::min(order.size(), count));
    std::vector<Path> best;
    for (const int32_t k : order) {
      best.push_back(std::move(found[k]));
      best.back().tokens = common_;
      const std::vector<int32_t> tokens = trie_.tokens(rows_.node[k]);
      best.back().tokens.insert(best.back().tokens.end(), tokens.begin(), tokens.end());
    }
    return best;
  }

  // A state is what `Backend` says: a value. All that does not follow from the rest is in it.
  void save(Writer& writer) {
    collect();
    writer.put(STATE_MARK);
    writer.put(static_cast<uint64_t>(trie_.nodes.size()));
    writer.put(static_cast<uint64_t>(size()));
    writer.put(static_cast<uint64_t>(common_.size()));
    writer.put(log_scale_);
    std::vector<int32_t> nodes;
    nodes.reserve(2 * trie_.nodes.size());
    for (const Node& node : trie_.nodes) nodes.insert(nodes.end(), {node.parent, node.token});
    writer.put(nodes.data(), nodes.size());
    writer.put(rows_.node.data(), size());
    writer.put(total_.data() + size(), size());
    writer.put(rows_.label.data(), size());
    writer.put(common_.data(), common_.size());
    writer.put(worth_.data(), worth_.size());
    for (const auto& context : contexts_) context->save(writer);
  }

  // False for bytes that `save` of the same search cannot have written.
  bool load(Reader& reader) {
    uint64_t mark, nodes, n, common;
    if (!reader.get(mark) || mark != STATE_MARK) return false;
    if (!reader.get(nodes) || !reader.get(n) || !reader.get(common) || !reader.get(log_scale_)) return false;
    if (nodes < 1 || nodes > INT32_MAX || n < 1 || n > nodes || n > places()) return false;
    if (!std::isfinite(log_scale_)) return false;
    std::vector<int32_t> pairs;  // parent and token
    if (!reader.get(pairs, 2 * nodes)) return false;
    trie_.nodes.clear();
    for (int32_t i = 0; i < static_cast<int32_t>(nodes); ++i) {
      const int32_t parent = pairs[2 * i], token = pairs[2 * i + 1];
      if (parent >= i || (parent < 0) != (i == 0) || parent < -1 || token < 0) return false;
      trie_.nodes.push_back({parent, token, -1});
    }
    trie_.index();
    rows_.clear();
    next_.clear();
    if (!reader.get(next_.node, n) || !reader.get(next_.blank, n) || !reader.get(next_.label, n)) return false;
    for (size_t k = 0; k < n; ++k) {
      const int32_t node = next_.node[k];
      if (node < 0 || node >= static_cast<int32_t>(nodes) || trie_.nodes[node].row >= 0) return false;
      trie_.nodes[node].row = 0;  // seen
      next_.last.push_back(trie_.nodes[node].token);
      if (!is_mass(next_.blank[k]) || !is_mass(next_.label[k])) return false;
    }
    if (!reader.get(common_, common)) return false;
    if (fusion_ && !reader.get(worth_, nodes)) return false;
    for (const Worth& worth : worth_)
      if (!(worth.gain >= 0 && worth.gain <= MOST && worth.factor >= 0 && worth.factor <= 1)) return false;
    for (const auto& context : contexts_)
      if (!context->load(reader, nodes)) return false;
    enter();
    return reader.left() == 0 && best_ >= SMALL;
  }

 private:
  // The n prefixes in the beam.
  struct Rows {
    std::vector<int32_t> node;  // in the trie
    std::vector<int32_t> last;  // the last token; the blank for the empty prefix, whose label stays 0
    std::vector<double> blank;  // mass of the paths that end in the blank
    std::vector<double> label;  // mass of the paths that end in the last token

    void add(int32_t a_node, int32_t a_last, double a_blank, double a_label) {
      node.push_back(a_node);
      last.push_back(a_last);
      blank.push_back(a_blank);
      label.push_back(a_label);
    }
    void clear() {
      node.clear();
      last.clear();
      blank.clear();
      label.clear();
    }
  };

  // What language models and hotwords make of a node: `fusion.Weights`.
  struct Worth {
    double gain;             // exp of the weight of its last step
    double factor;           // exp of its lookahead
    double language, bonus;  // sums over all steps
  };

  SearchOptions options_;
  double least_ratio_;
  const Fusion* fusion_;
  double log_scale_ = 0.0;       // the logarithm of all that the masses were divided by
  double best_ = 1.0;            // the greatest total
  Trie trie_;
  std::vector<int32_t> common_;  // the tokens up to the trie's root
  size_t collect_at_ = 4096;     // at how many nodes those that are not needed are freed
  std::vector<Worth> worth_;     // of every node, as the contexts' states; empty without fusion
  std::vector<std::unique_ptr<Context>> contexts_;

  Rows rows_, next_;
  std::vector<double> total_, new_total_;  // (2 n + 1,): total, then blank, then 0
  std::vector<double> new_label_;          // (n,)
  std::vector<double> rank_;               // (n,) of those that stay
  std::vector<int32_t> source_;            // (n,) where entry, but for the gain, is found in total_
  std::vector<double> gain_, factor_;      // (n,)
  std::vector<int32_t> tokens_;            // all different last tokens; empty where they are not known yet

  std::vector<double> p_;         // (V,) the frame's probabilities, of tokens_ alone
  std::vector<uint64_t> marked_;  // (V,) at whose turn a token was marked
  uint64_t turn_ = 0;
  std::vector<int32_t> first_child_, next_child_;  // (n,) rows: a row's first child, its parent's next
  std::vector<Likely> likely_;
  std::vector<Extension> extensions_;
  std::vector<Worth> steps_;  // of the extensions, with fusion, and of these steps alone
  std::vector<double> order_, space_;

  static bool is_mass(double mass) { return mass >= 0 && mass < 2 / SMALL; }

  size_t size() const { return rows_.node.size(); }
  size_t places() const { return static_cast<size_t>(options_.beam_size); }

  template <class Real>
  bool step(const Real* x, const Frame& frame) {
    const int64_t V = static_cast<int64_t>(p_.size());
    const double least = least_considered(x, V, options_.prepare, frame, space_);
    const auto p = [&](int64_t token) {
      const double log_prob = static_cast<double>(x[token]) - frame.peak;
      return log_prob >= least ? std::exp(log_prob) : 0.0;
    };
    find_tokens();
    for (const int32_t token : tokens_) p_[token] = p(token);
    log_scale_ += frame.level;

    const auto [worst, top, total] = stay(p(options_.blank));
    double cut = top * least_ratio_;
    if (size() == places()) cut = std::max(cut, worst);
    extensions_.clear();
    const bool enters = best_ * std::exp(frame.token) * (fusion_ ? fusion_->most() : 1.0) > cut;
    if (enters && frame.token >= least) extend(x, frame, least, cut);
    if (extensions_.empty() && worst >= cut) {
      total_.swap(new_total_);
      rows_.label.swap(new_label_);
      best_ = total;
    } else {
      select();
    }
    if (!(best_ > SMALL && best_ < 1 / SMALL) && !rescale()) return false;
    if (trie_.nodes.size() >= collect_at_) collect();
    return true;
  }

  struct Range {
    double worst, top, total;  // the least and the greatest rank, the greatest total
  };

  // The masses of the same prefixes one frame later.
  Range stay(double p_blank) {
    const size_t n = size();
    new_label_.resize(n);
    new_total_.resize(2 * n + 1);
    rank_.resize(n);
    Range range{INF, 0.0, 0.0};
    for (size_t k = 0; k < n; ++k) {
      const double blank = total_[k] * p_blank;
      const double label = (rows_.label[k] + total_[source_[k]] * gain_[k]) * p_[rows_.last[k]];
      const double total = blank + label, rank = total * factor_[k];
      new_label_[k] = label;
      new_total_[n + k] = blank;
      new_total_[k] = total;
      rank_[k] = rank;
      range = {std::min(range.worst, rank), std::max(range.top, rank), std::max(range.total, total)};
    }
    new_total_[2 * n] = 0.0;
    return range;
  }

  // The prefixes one token longer that are not in the beam and rank above the cut.
  template <class Real>
  void extend(const Real* x, const Frame& frame, double least, double cut) {
    const size_t n = size(), limit = std::max<size_t>(4 * places(), 256);
    find_likely(x, frame, least, cut);
    if (likely_.empty()) return;
    find_children();
    for (size_t k = 0; k < n; ++k) {
      if (total_[k] * (likely_[0].p * likely_[0].most) <= cut) continue;
      ++turn_;
      double start = -1.0;  // what is left of the bound at the start of a word, not known yet
      for (int32_t child = first_child_[k]; child >= 0; child = next_child_[child]) marked_[rows_.last[child]] = turn_;
      for (const auto& [p, most, token] : likely_) {
        if (total_[k] * (p * most) <= cut) break;  // and so are those of all less likely tokens
        if (marked_[token] == turn_) continue;  // what is in the beam stays
        // A c after a c needs a blank between.
        const double mass = total_[token == rows_.last[k] ? n + k : k] * p;
        double rank = mass * most;
        if (fusion_ && fusion_->starts_word(token)) {
          if (start < 0) start = at_start_of_word(rows_.node[k]);
          rank *= start;
        } else if (fusion_) {
          rank *= factor_[k];  // a lookahead does not get better before a new word starts
        }
        if (rank <= cut) continue;
        extensions_.push_back({rank, mass, static_cast<int32_t>(k), token});
        if (extensions_.size() >= limit && !fusion_) cut = std::max(cut, keep_best_extensions());
      }
    }
    if (fusion_) weigh_extensions(cut);
  }

  // The factor that is left of the bound of a step to the start of a word.
  double at_start_of_word(int32_t node) {
    double weight = 0.0;
    for (const auto& context : contexts_) weight += context->at_start_of_word(node);
    return gain(weight);
  }

  // From the ranks that extensions can have at best to those that they have; leaves those above the cut, and
  // in steps_ what was added. The best are weighed first, a few at a time, and raise the cut for the others.
  void weigh_extensions(double cut) {
    const auto begin = extensions_.begin();
    const size_t size = extensions_.size(), few = std::max<size_t>(2 * places(), 64);
    size_t kept = 0;
    steps_.clear();
    order_ = rank_;
    for (size_t from = 0, to; from < size; from = to) {
      to = from + std::min(few, size - from);
      if (to < size)
        std::nth_element(at(begin, from), at(begin, to), extensions_.end(),
                         [](const Extension& a, const Extension& b) { return a.rank > b.rank; });
      bool any = false;
      for (const auto& context : contexts_)
        for (size_t i = from; i < to; ++i)
          if (extensions_[i].rank > cut) context->expect(rows_.node[extensions_[i].row], extensions_[i].token);
      for (size_t i = from; i < to; ++i) {
        Extension extension = extensions_[i];
        if (extension.rank <= cut) continue;
        any = true;
        const Worth step = weigh(extension);
        if (!(extension.rank > cut)) continue;
        extensions_[kept++] = extension;
        steps_.push_back(step);
        order_.push_back(extension.rank);
      }
      if (!any || to == size) break;
      space_ = order_;
      cut = std::max(cut, Gate(space_, places()).least);
    }
    extensions_.resize(kept);
  }

  template <class Iterator>
  static Iterator at(Iterator begin, size_t place) {
    return begin + static_cast<std::ptrdiff_t>(place);
  }

  // The tokens whose extension of the best prefix may rank above the cut, the most likely first.
  template <class Real>
  void find_likely(const Real* x, const Frame& frame, double least, double cut) {
    const double* bound = fusion_ ? fusion_->bound().data() : nullptr;
    const double over = cut > 0 ? std::log(cut / best_) - SLACK : -INF;
    const double most_bound = fusion_ ? std::log(fusion_->most()) : 0.0;
    // Rules nearly all tokens out, in the numbers of the input.
    const double slack = SLACK * (1 + std::abs(frame.peak));
    const Real quick = not_above<Real>(std::max(least, over - most_bound) + frame.peak - slack);
    likely_.clear();
    const auto look = [&](size_t token) {
      if (x[token] < quick) return;
      const double log_prob = static_cast<double>(x[token]) - frame.peak, weight = bound ? bound[token] + SLACK : 0.0;
      if (log_prob < least || log_prob + weight < over || static_cast<int64_t>(token) == options_.blank) return;
      const double p = std::exp(log_prob);
      likely_.push_back({p, bound ? std::exp(weight) : 1.0, static_cast<int32_t>(token)});
    };
    constexpr size_t LANES = 16;
    const size_t V = p_.size();
    size_t begin = 0;
    for (; begin + LANES <= V; begin += LANES) {
      int some = 0;
      for (size_t lane = 0; lane < LANES; ++lane) some |= x[begin + lane] >= quick;
      for (size_t lane = 0; some && lane < LANES; ++lane) look(begin + lane);
    }
    for (; begin < V; ++begin) look(begin);
    std::sort(likely_.begin(), likely_.end(), [](const Likely& a, const Likely& b) {
      const double best_a = a.p * a.most, best_b = b.p * b.most;
      return best_a > best_b || (best_a == best_b && a.token < b.token);
    });
  }

  void find_children() {
    first_child_.assign(size(), -1);
    next_child_.resize(size());
    for (size_t k = 0; k < size(); ++k) {
      const int32_t row = parent_row(k);
      if (row < 0) continue;
      next_child_[k] = first_child_[row];
      first_child_[row] = static_cast<int32_t>(k);
    }
  }

  int32_t parent_row(size_t k) const {
    const int32_t parent = trie_.nodes[rows_.node[k]].parent;
    return parent < 0 ? -1 : trie_.nodes[parent].row;
  }

  // Applies what the fusion makes of the extension's step, and returns it.
  Worth weigh(Extension& extension) {
    Step sum;
    for (const auto& context : contexts_) {
      const Step step = context->step(rows_.node[extension.row], extension.token);
      sum.language += step.language;
      sum.bonus += step.bonus;
      sum.lookahead += step.lookahead;
    }
    const Worth step{gain(sum.language + sum.bonus), sum.lookahead == 0 ? 1.0 : std::exp(sum.lookahead), sum.language,
                     sum.bonus};
    extension.mass *= step.gain;
    extension.rank = extension.mass * step.factor;
    return step;
  }

  // A gain that is no number, or out of all reason, makes a step impossible.
  static double gain(double weight) {
    const double gain = weight == 0 ? 1.0 : std::exp(weight);
    return gain <= MOST ? gain : 0.0;
  }

  // Leaves the best extensions, as many as there are places in the beam; the least rank among them.
  double keep_best_extensions() {
    order_.clear();
    for (const Extension& extension : extensions_) order_.push_back(extension.rank);
    Gate gate(order_, places());
    size_t kept = 0;
    for (const Extension& extension : extensions_)
      if (gate.admits(extension.rank)) extensions_[kept++] = extension;
    extensions_.resize(kept);
    return gate.least;
  }

  // The next beam: the best of those that stay and of the extensions.
  void select() {
    const size_t n = size();
    order_.assign(rank_.begin(), rank_.end());
    for (const Extension& extension : extensions_) order_.push_back(extension.rank);
    const double least = *std::max_element(order_.begin(), order_.end()) * least_ratio_;
    Gate gate(order_, places());
    next_.clear();
    for (size_t k = 0; k < n; ++k)
      if (gate.admits(rank_[k]) && rank_[k] >= least)
        next_.add(rows_.node[k], rows_.last[k], new_total_[n + k], new_label_[k]);
    for (size_t i = 0; i < extensions_.size(); ++i)
      if (gate.admits(extensions_[i].rank) && extensions_[i].rank >= least)
        next_.add(grow(i), extensions_[i].token, 0.0, extensions_[i].mass);
    enter();
  }

  // The node of extension i.
  int32_t grow(size_t i) {
    const Extension& extension = extensions_[i];
    const int32_t parent = rows_.node[extension.row], node = trie_.child(parent, extension.token);
    if (fusion_ && static_cast<size_t>(node) == worth_.size()) {
      const Worth& step = steps_[i];
      for (const auto& context : contexts_) context->grow(parent, extension.token);
      const Worth before = worth_[parent];
      worth_.push_back({step.gain, step.factor, before.language + step.language, before.bonus + step.bonus});
    }
    return node;
  }

  // Makes `next_` the beam.
  void enter() {
    for (const int32_t node : rows_.node) trie_.nodes[node].row = -1;
    std::swap(rows_, next_);
    const size_t n = size();
    for (size_t k = 0; k < n; ++k) trie_.nodes[rows_.node[k]].row = static_cast<int32_t>(k);
    source_.resize(n);
    gain_.assign(n, 1.0);
    factor_.assign(n, 1.0);
    total_.resize(2 * n + 1);
    tokens_.clear();  // not known yet
    best_ = 0.0;
    for (size_t k = 0; k < n; ++k) {
      const int32_t row = parent_row(k), last = rows_.last[k];
      source_[k] = static_cast<int32_t>(row < 0 ? 2 * n : rows_.last[row] == last ? n + row : row);
      total_[k] = rows_.blank[k] + rows_.label[k];
      total_[n + k] = rows_.blank[k];
      best_ = std::max(best_, total_[k]);
      if (!fusion_) continue;
      gain_[k] = worth_[rows_.node[k]].gain;
      factor_[k] = worth_[rows_.node[k]].factor;
    }
    total_[2 * n] = 0.0;
  }

  // All different last tokens, where they are not known yet.
  void find_tokens() {
    if (!tokens_.empty()) return;
    ++turn_;
    for (const int32_t token : rows_.last) {
      if (marked_[token] == turn_) continue;
      marked_[token] = turn_;
      tokens_.push_back(token);
    }
  }

  // Divides all masses by the best; false where none is left.
  bool rescale() {
    if (!(best_ > 0)) return false;
    for (double& mass : total_) mass /= best_;
    for (double& mass : rows_.label) mass /= best_;
    log_scale_ += std::log(best_);
    best_ = 1.0;
    return true;
  }

  void collect() {
    const std::vector<int32_t> kept = trie_.collect(common_);
    for (size_t node = 0; node < kept.size(); ++node)
      if (trie_.nodes[node].row >= 0) rows_.node[trie_.nodes[node].row] = static_cast<int32_t>(node);
    if (fusion_) keep_rows(worth_, 1, kept);
    for (const auto& context : contexts_) context->keep(kept);
    collect_at_ = std::max<size_t>(4096, 4 * kept.size());
  }

  // Adds what the fusion made of the node to its path.
  void weigh(int32_t node, bool final, Path& path) {
    path.language = worth_[node].language;
    path.bonus = worth_[node].bonus;
    path.acoustic -= path.language + path.bonus;
    path.rank += std::log(worth_[node].factor);
    if (!final) return;
    for (const auto& context : contexts_) {
      const Step end = context->finish(node);
      path.language += end.language;
      path.bonus += end.bonus;
    }
    path.rank = path.acoustic + path.language + path.bonus;
  }
};

// ------------------------------------------------------------- a labelling that is known (align.py)

// 2 U + 1 states, the U tokens with blanks before, between and after them. A path stays in its state, goes to
// the next one, or passes over a blank between two different tokens.
struct States {
  std::vector<int64_t> token;  // (S,)
  std::vector<char> skips;     // (S,) whether a path may come from two states before

  States(const int64_t* tokens, int64_t U, int64_t blank)
      : token(2 * static_cast<size_t>(U) + 1, blank), skips(token.size(), 0) {
    for (size_t u = 0; u < static_cast<size_t>(U); ++u) {
      token[2 * u + 1] = tokens[u];
      skips[2 * u + 1] = u > 0 && tokens[u] != tokens[u - 1];
    }
  }

  size_t size() const { return token.size(); }
};

double log_add(double a, double b) {
  const double high = std::max(a, b), low = std::min(a, b);
  return high - low > 40 || low == -INF ? high : high + std::log1p(std::exp(low - high));  // exp(-40) < 2^-57
}

// ln of the sum of the probabilities of all paths, in logarithms.
template <class Real>
double log_score(const Real* x, int64_t T, int64_t V, const States& states) {
  const size_t S = states.size();
  std::vector<double> alpha(S, -INF);
  alpha[0] = 0.0;
  for (int64_t t = 0; t < T; ++t, x += V)
    for (size_t s = std::min(S, 2 * static_cast<size_t>(t) + 2); s-- > 0;) {  // those before it are still old
      double mass = alpha[s];
      if (s > 0) mass = log_add(mass, alpha[s - 1]);
      if (states.skips[s]) mass = log_add(mass, alpha[s - 2]);
      alpha[s] = mass + x[states.token[s]];
    }
  return S > 1 ? log_add(alpha[S - 1], alpha[S - 2]) : alpha[0];
}

// The same in plain numbers where they are large enough, otherwise in logarithms.
//
// What is below TINY is rounded to 0. A mass that is lost so can have grown to no more than TINY times the
// product of what the frames may multiply it by (`growth`), and there are fewer of them than 1e30: where the
// result is 1e30 * 1e16 times that, nothing is lost.
template <class Real>
double score(const Real* x, int64_t T, int64_t V, const States& states) {
  constexpr double TINY = 1e-300;
  const size_t S = states.size();
  std::vector<int64_t> tokens(states.token);
  std::sort(tokens.begin(), tokens.end());
  tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
  std::vector<double> p(static_cast<size_t>(V)), alpha(S + 2, 0.0), next(S + 2, 0.0), jump(S);
  for (size_t s = 0; s < S; ++s) jump[s] = states.skips[s] ? 1.0 : 0.0;
  alpha[2] = 1.0;  // two states that are never reached come first
  double growth = 1.0;
  const Real* frame = x;
  for (int64_t t = 0; t < T; ++t, frame += V) {
    double sum = 0.0;
    for (const int64_t token : tokens) sum += p[token] = std::exp(static_cast<double>(frame[token]));
    growth *= std::max(sum, 1.0);
    const size_t reached = std::min(S, 2 * static_cast<size_t>(t) + 2);
    for (size_t s = 0; s < reached; ++s) {
      const double mass = (alpha[s + 2] + alpha[s + 1] + alpha[s] * jump[s]) * p[states.token[s]];
      next[s + 2] = mass < TINY ? 0.0 : mass;
    }
    alpha.swap(next);
  }
  const double mass = S > 1 ? alpha[S + 1] + alpha[S] : alpha[S + 1];
  return mass > TINY * growth * 1e46 && mass < INF ? std::log(mass) : log_score(x, T, V, states);
}

// The state of the best path in each frame, and its score. first: its state in the first frame, or -1. What
// is impossible is very improbable; of equal ways into a state the shortest is taken.
template <class Real>
double best_path(const Real* x, int64_t T, int64_t V, const States& states, int64_t first, int64_t* path) {
  constexpr double VERY_IMPROBABLE = -1e15;
  const size_t S = states.size();
  std::vector<double> best(S + 2, -INF), next(S + 2, -INF), toll(S, -INF), emission(S);
  std::vector<uint8_t> came(static_cast<size_t>(T) * S);  // into the state: 0, it stayed; 1, from one before; 2, two
  for (size_t s = 3; s < S; s += 2) toll[s] = states.skips[s] ? 0.0 : VERY_IMPROBABLE;
  for (size_t s = 0; s < std::min<size_t>(S, 2); ++s)
    if (first < 0 || static_cast<size_t>(first) == s) best[s + 2] = 0.0;  // two that are never reached come first
  for (int64_t t = 0; t < T; ++t, x += V) {
    for (size_t s = 0; s < S; ++s) emission[s] = std::max(static_cast<double>(x[states.token[s]]), VERY_IMPROBABLE);
    uint8_t* how = came.data() + static_cast<size_t>(t) * S;
    for (size_t s = 0; s < S; ++s) {
      const double stay = best[s + 2], go = t > 0 ? best[s + 1] : -INF, over = t > 0 ? best[s] + toll[s] : -INF;
      const double way = go > stay ? go : stay;
      how[s] = static_cast<uint8_t>((go > stay) | (over > way) << 1);
      next[s + 2] = (over > way ? over : way) + emission[s];
    }
    best.swap(next);
  }
  size_t s = S > 1 && best[S] >= best[S + 1] ? S - 2 : S - 1;
  const double result = best[s + 2];
  for (int64_t t = T; t-- > 0;) {
    path[t] = static_cast<int64_t>(s);
    const uint8_t how = came[static_cast<size_t>(t) * S + s];
    s -= how > 1 ? 2 : how;
  }
  return result;
}

}  // namespace

// -------------------------------------------------------------------------------------------- ABI

// Each call of the ABI: a status, whatever happens.
template <class Body>
int32_t guarded(Body body) noexcept {
  try {
    return body();
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  } catch (const std::length_error&) {
    return NO_MEMORY;
  } catch (...) {
    return FAULT;
  }
}

ABI int32_t asr_abi_version() { return ABI_VERSION; }

// A fusion of models; the arrays must stay where they are until it is freed.
ABI int32_t asr_fusion_new(const double* bound, int64_t V, Fusion** fusion) {
  return guarded([&] {
    *fusion = new Fusion(bound, V);
    return OK;
  });
}

ABI int32_t asr_fusion_add_words(Fusion* fusion, const WordArrays* arrays) {
  return guarded([&] {
    fusion->add(std::make_unique<WordModel>(*arrays, fusion->bound().size()));
    return OK;
  });
}

ABI int32_t asr_fusion_add_tokens(Fusion* fusion, const TokenArrays* arrays) {
  return guarded([&] {
    fusion->add(std::make_unique<TokenModel>(*arrays));
    return OK;
  });
}

ABI int32_t asr_fusion_add_hotwords(Fusion* fusion, const HotwordArrays* arrays) {
  return guarded([&] {
    fusion->add(std::make_unique<HotwordModel>(*arrays));
    return OK;
  });
}

ABI void asr_fusion_free(Fusion* fusion) { delete fusion; }

// A search, from its start or from a saved state; fusion may be null, and must outlive it.
ABI int32_t asr_search_new(const SearchOptions* options, const Fusion* fusion, const uint8_t* state, int64_t size,
                           Search** search) {
  return guarded([&]() -> int32_t {
    auto made = std::make_unique<Search>(*options, fusion);
    if (state) {
      Reader reader(state, static_cast<size_t>(size));
      if (!made->load(reader)) return BAD_STATE;
    }
    *search = made.release();
    return OK;
  });
}

ABI void asr_search_free(Search* search) { delete search; }

// bad: where a frame is bad, its number.
ABI int32_t asr_search_run(Search* search, const void* x, int32_t is_double, int64_t T, int64_t V, int64_t* bad) {
  return guarded([&]() -> int32_t {
    if (is_double) return search->run(static_cast<const double*>(x), T, V, *bad);
    return search->run(static_cast<const float*>(x), T, V, *bad);
  });
}

// Results that are as long as they are: bytes, to be copied and freed.
struct Output {
  std::vector<uint8_t> bytes;
};

ABI const uint8_t* asr_output_bytes(const Output* output) { return output->bytes.data(); }
ABI int64_t asr_output_size(const Output* output) { return static_cast<int64_t>(output->bytes.size()); }
ABI void asr_output_free(Output* output) { delete output; }

// The state, as bytes.
ABI int32_t asr_search_save(Search* search, Output** output) {
  return guarded([&] {
    Writer writer;
    search->save(writer);
    *output = new Output{std::move(writer.bytes)};
    return OK;
  });
}

// The tokens that were taken out, int32.
ABI int32_t asr_search_settle(Search* search, const int32_t* tokens, int64_t length, Output** output) {
  return guarded([&]() -> int32_t {
    std::vector<int32_t> common;
    if (const Status status = search->settle(tokens, static_cast<size_t>(length), common)) return status;
    Writer writer;
    writer.put(common.data(), common.size());
    *output = new Output{std::move(writer.bytes)};
    return OK;
  });
}

// For each path: acoustic, language, bonus (float64), the number of tokens (int64), and the tokens (int32).
ABI int32_t asr_search_paths(Search* search, int64_t count, int32_t final, Output** output) {
  return guarded([&] {
    Writer writer;
    for (const Path& path : search->paths(static_cast<size_t>(count), final != 0)) {
      writer.put(path.acoustic);
      writer.put(path.language);
      writer.put(path.bonus);
      writer.put(static_cast<int64_t>(path.tokens.size()));
      writer.put(path.tokens.data(), path.tokens.size());
    }
    *output = new Output{std::move(writer.bytes)};
    return OK;
  });
}

// Whether the labels are ids.
static bool are_ids(const int64_t* tokens, int64_t U, int64_t blank, int64_t V) {
  const auto is_id = [&](int64_t token) { return token >= 0 && token < V; };
  return is_id(blank) && std::all_of(tokens, tokens + U, is_id);
}

// ln p of a labelling, of tokens (U,).
ABI int32_t asr_ctc_score(const void* x, int32_t is_double, int64_t T, int64_t V, const int64_t* tokens, int64_t U,
                          int64_t blank, double* result) {
  return guarded([&] {
    if (!are_ids(tokens, U, blank, V)) return BAD_TOKEN;
    const States states(tokens, U, blank);
    *result = is_double ? score(static_cast<const double*>(x), T, V, states)
                        : score(static_cast<const float*>(x), T, V, states);
    return OK;
  });
}

// path: (T,) states; first: the one in the first frame, or -1.
ABI int32_t asr_best_path(const void* x, int32_t is_double, int64_t T, int64_t V, const int64_t* tokens, int64_t U,
                          int64_t blank, int64_t first, int64_t* path, double* result) {
  return guarded([&] {
    if (!are_ids(tokens, U, blank, V)) return BAD_TOKEN;
    const States states(tokens, U, blank);
    *result = is_double ? best_path(static_cast<const double*>(x), T, V, states, first, path)
                        : best_path(static_cast<const float*>(x), T, V, states, first, path);
    return OK;
  });
}
