// Cheapest alignments of two sequences behind a C ABI: errors of texts, counted or told one by one.
//
// score/alignment.py and score/table.py are the reference: they explain the rules by which one of several equally
// cheap alignments is taken, and what is here takes the same (tests/test_native_edits.py). edits.py declares the
// functions of the last section to ctypes. The rules of this file are those of decoders.cpp.

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <vector>

#if defined(_WIN32)
#define ABI extern "C" __declspec(dllexport)
#else
#define ABI extern "C" __attribute__((visibility("default")))
#endif

namespace {

enum Status : int32_t { OK, NO_MEMORY, FAULT };                  // as in loader.py
enum Operation : uint8_t { EQUAL, SUBSTITUTE, DELETE, INSERT };  // as in edits.py
enum UnitKind : int32_t { WORDS, CHARACTERS, LETTERS };          // as in edits.py; letters: no spaces between words

// What a table may keep of its cells; of a greater one a strip of rows after the other is kept, and computed twice.
constexpr int64_t MEMORY = int64_t(1) << 26;

// A table of more cells is tried with few errors first: those by which one sequence is longer, and so many more.
constexpr int64_t SMALL = int64_t(1) << 18, FEW = 128;

// What an error costs, and which of several cheapest alignments is taken.
struct Costs {
  int64_t substitution, gap, rule;
};
enum Rule : int64_t {  // as in edits.py
  BEGINNING_AND_END,   // of alignment.py: what is the same there is matched first; all costs are 1
  INSERTIONS_FIRST,    // of table.py, and the other tie
  DELETIONS_FIRST
};

// Numbers that stand for units.
struct Sequence {
  const int32_t* ids;
  int64_t size;
};

// -------------------------------------------------------------------------------- tables of distances

// All costs 1 (alignment.py): the vertical differences of D, a bit a row, 64 rows at a time (Hyyrö 2003). Unlike
// there, 64 rows are gone through from left to right before the next ones, so that what of them a unit matches
// is one number, and what the next ones need of them is the last row's horizontal differences.
//
// Of a large table only a band is computed (Ukkonen 1985), as wide as ways of at most so many errors need it. Beside
// it D is taken to rise by 1 with every row and column, which is never too little. So the distance found is never too
// little; and where it is not more than those errors, every cheapest way is in the band, and D is right on all of them,
// which settles each choice between them, too.
class BitTable {
 public:
  BitTable(Sequence rows, Sequence columns, int64_t units, int64_t most)
      : rows_(rows), columns_(columns), matches_(units + 1), border_(columns.size, UP) {
    const int64_t longer = columns.size - rows.size;
    left_ = (most - longer + 1) / 2;
    right_ = (most + longer + 1) / 2;
    width_ = std::min(columns.size, left_ + right_ + 64) + 1;
    const int64_t groups = (rows.size + 63) / 64;
    height_ = 64 * std::min(groups, std::max<int64_t>(1, MEMORY / width_ / int64_t(sizeof(Cell))));
    cells_.reset(new Cell[(height_ / 64) * width_]);
  }

  using Border = std::vector<uint8_t>;
  int64_t height() const { return height_; }
  const Border& border() const { return border_; }

  // The rows from `first` on, as many as fit, below this border; afterwards the border is theirs.
  void fill(int64_t first, const Border& above) {
    border_ = above;
    const int64_t last = std::min(first + height_, rows_.size);
    Cell* cells = cells_.get();
    for (int64_t start = first; start < last; start += 64, cells += width_) fill_group(start, cells);
    first_ = first;
  }

  // The last operation of the way to D[i, j].
  Operation last(int64_t i, int64_t j) const {
    const int64_t group = (i - 1 - first_) / 64, row = (i - 1) % 64;
    const Cell* cell = cells_.get() + group * width_ + j - begin(first_ + 64 * group);
    if (cell[0].up >> row & 1) return DELETE;
    if (cell[-1].down >> row & 1) return INSERT;
    return EQUAL;
  }

  // Of the whole table, when its last rows have just been filled after all the others.
  int64_t distance() const { return corner_; }

 private:
  // Of a column: where D[i, j] = D[i - 1, j] + 1, and where - 1.
  struct Cell {
    uint64_t up, down;
  };
  enum : uint8_t { UP = 1, DOWN = 2 };  // D[i, j] = D[i, j - 1] + 1, and - 1

  // The first and the last column of the band in the 64 rows after row `start`.
  int64_t begin(int64_t start) const { return std::max<int64_t>(0, start - left_); }
  int64_t end(int64_t start) const { return std::min(columns_.size, start + 64 + right_); }

  void fill_group(int64_t start, Cell* cell) {
    const int64_t count = std::min<int64_t>(64, rows_.size - start);
    for (int64_t i = 0; i < count; ++i) matches_[rows_.ids[start + i]] |= uint64_t(1) << i;
    uint64_t up = ~uint64_t(0), down = 0;
    *cell = {up, down};
    for (int64_t j = begin(start); j < end(start); ++j) {
      const uint64_t rises = border_[j] & UP, falls = border_[j] >> 1;
      const uint64_t match = matches_[columns_.ids[j]] | falls;
      const uint64_t diagonal = (((match & up) + up) ^ up) | match | down;
      uint64_t higher = down | ~(diagonal | up);
      uint64_t lower = diagonal & up;
      border_[j] = uint8_t(higher >> (count - 1) & 1) | uint8_t((lower >> (count - 1) & 1) << 1);
      higher = higher << 1 | rises;
      lower = lower << 1 | falls;
      up = lower | ~(diagonal | higher);
      down = higher & diagonal;
      *++cell = {up, down};
    }
    for (int64_t i = 0; i < count; ++i) matches_[rows_.ids[start + i]] = 0;
    corner_ = (start ? corner_ : 0) + count;
    const int64_t next = start + count < rows_.size ? begin(start + count) : columns_.size;
    for (int64_t j = begin(start); j < next; ++j) corner_ += (border_[j] & UP) - (border_[j] >> 1);
  }

  Sequence rows_, columns_;
  int64_t left_, right_, width_, height_, first_ = 0;
  int64_t corner_ = 0;  // D of the last row, in the column where the band of the next ones begins
  std::vector<uint64_t> matches_;
  Border border_;
  std::unique_ptr<Cell[]> cells_;
};

// Any costs (table.py): D itself, a row after the other, and the choice in each cell.
class CostTable {
 public:
  CostTable(Sequence rows, Sequence columns, Costs costs)
      : rows_(rows), columns_(columns), costs_(costs), border_(columns.size + 1) {
    for (int64_t j = 0; j <= columns.size; ++j) border_[j] = costs.gap * j;
    height_ = std::min(rows.size, std::max<int64_t>(1, MEMORY / columns.size));
    choices_.reset(new Operation[height_ * columns.size]);
  }

  using Border = std::vector<int64_t>;
  int64_t height() const { return height_; }
  const Border& border() const { return border_; }

  void fill(int64_t first, const Border& above) {
    border_ = above;
    Operation* choice = choices_.get();
    for (int64_t i = first; i < std::min(first + height_, rows_.size); ++i) {
      int64_t diagonal = border_[0];
      border_[0] += costs_.gap;
      for (int64_t j = 0; j < columns_.size; ++j) {
        const int64_t matched = diagonal + (rows_.ids[i] == columns_.ids[j] ? 0 : costs_.substitution);
        const int64_t deleted = border_[j + 1] + costs_.gap, inserted = border_[j] + costs_.gap;
        diagonal = border_[j + 1];
        border_[j + 1] = std::min(matched, std::min(deleted, inserted));
        const bool deletion = costs_.rule == DELETIONS_FIRST ? deleted <= inserted : deleted < inserted;
        *choice++ = border_[j + 1] == matched ? EQUAL : deletion ? DELETE : INSERT;
      }
    }
    first_ = first;
  }

  Operation last(int64_t i, int64_t j) const { return choices_[(i - 1 - first_) * columns_.size + j - 1]; }

 private:
  Sequence rows_, columns_;
  Costs costs_;
  int64_t height_, first_ = 0;
  Border border_;
  std::unique_ptr<Operation[]> choices_;
};

// Fills the strips of a table from the first one on; the borders above them.
template <class Table>
std::vector<typename Table::Border> fill(Table& table, int64_t rows) {
  std::vector<typename Table::Border> borders;
  for (int64_t first = 0; first < rows; first += table.height()) {
    borders.push_back(table.border());
    table.fill(first, borders.back());
  }
  return borders;
}

// Tells the operations from the last one to the first, of a table that has just been filled.
template <class Table, class Emit>
void trace(Table& table, const std::vector<typename Table::Border>& borders, Sequence rows, Sequence columns,
           Emit emit) {
  int64_t i = rows.size, j = columns.size;
  for (int64_t strip = int64_t(borders.size()); strip-- > 0;) {
    const int64_t first = strip * table.height();
    if (strip + 1 < int64_t(borders.size())) table.fill(first, borders[strip]);
    while (i > first && j > 0) {
      Operation operation = table.last(i, j);
      i -= operation != INSERT;
      j -= operation != DELETE;
      if (operation == EQUAL && rows.ids[i] != columns.ids[j]) operation = SUBSTITUTE;
      emit(operation);
    }
  }
  for (; i > 0; --i) emit(DELETE);
  for (; j > 0; --j) emit(INSERT);
}

template <class Emit>
void align_with_bits(Sequence rows, Sequence columns, int64_t units, Emit emit) {
  const int64_t longer = std::max(rows.size, columns.size), shorter = std::min(rows.size, columns.size);
  const int64_t most = longer * shorter <= SMALL ? longer + shorter : longer - shorter + FEW;
  std::unique_ptr<BitTable> table(new BitTable(rows, columns, units, most));
  auto borders = fill(*table, rows.size);
  const int64_t distance = table->distance();
  if (distance > most) {
    table.reset();
    table.reset(new BitTable(rows, columns, units, distance));
    borders = fill(*table, rows.size);
  }
  trace(*table, borders, rows, columns, emit);
}

template <class Emit>
void align_with_costs(Sequence rows, Sequence columns, Costs costs, Emit emit) {
  CostTable table(rows, columns, costs);
  const auto borders = fill(table, rows.size);
  trace(table, borders, rows, columns, emit);
}

// The operations of a cheapest way from rows to columns, the last one first. The ids of rows are less than `units`,
// and those of columns at most `units`, which stands for what is not in the rows.
template <class Emit>
void align(Sequence rows, Sequence columns, int64_t units, Costs costs, Emit emit) {
  const bool bits = costs.rule == BEGINNING_AND_END;
  int64_t head = 0, tail = 0;  // units that are the same at the beginning and at the end
  int64_t shorter = std::min(rows.size, columns.size);
  while (bits && head < shorter && rows.ids[head] == columns.ids[head]) ++head;
  shorter -= head;
  while (tail < shorter && rows.ids[rows.size - 1 - tail] == columns.ids[columns.size - 1 - tail]) ++tail;
  rows = {rows.ids + head, rows.size - head - tail};
  columns = {columns.ids + head, columns.size - head - tail};
  for (; tail > 0; --tail) emit(EQUAL);
  if (rows.size == 0 || columns.size == 0) {
    for (; rows.size > 0; --rows.size) emit(DELETE);
    for (; columns.size > 0; --columns.size) emit(INSERT);
  } else if (bits) {
    align_with_bits(rows, columns, units, emit);
  } else {
    align_with_costs(rows, columns, costs, emit);
  }
  for (; head > 0; --head) emit(EQUAL);
}

// -------------------------------------------------------------------------------- units of texts (counts.py)

// As str.isspace.
bool is_space(uint32_t c) {
  if (c < 0x80) return c == ' ' || (c >= 0x09 && c <= 0x0d) || (c >= 0x1c && c <= 0x1f);
  return c == 0x85 || c == 0xa0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200a) || c == 0x2028 || c == 0x2029 ||
         c == 0x202f || c == 0x205f || c == 0x3000;
}

// Some code points of a text.
struct Unit {
  const uint32_t* begin;
  int64_t size;
  uint64_t hash;

  bool operator==(const Unit& other) const {
    return hash == other.hash && size == other.size && std::equal(begin, begin + size, other.begin);
  }
};

uint64_t mixed(uint64_t hash, uint32_t c) {
  hash = (hash ^ c) * 0x9e3779b97f4a7c15;
  return hash ^ hash >> 32;
}

void split(const uint32_t* text, int64_t size, UnitKind kind, std::vector<Unit>& units) {
  static const uint32_t space = ' ';
  units.clear();
  for (const uint32_t *c = text, *end = text + size; c < end;) {
    if (is_space(*c)) {
      ++c;
      continue;
    }
    if (kind == CHARACTERS && !units.empty()) units.push_back({&space, 1, mixed(0, space)});
    const uint32_t* begin = c;
    uint64_t hash = 0;
    for (; c < end && !is_space(*c); ++c) {
      if (kind == WORDS)
        hash = mixed(hash, *c);
      else
        units.push_back({c, 1, mixed(0, *c)});
    }
    if (kind == WORDS) units.push_back({begin, c - begin, hash});
  }
}

// Numbers units in the order in which they come.
class Numbers {
 public:
  // Forgets all, and makes place for so many.
  void clear(int64_t most) {
    size_t size = 16;
    while (int64_t(size) < 2 * most) size *= 2;
    slots_.assign(size, -1);
    units_.clear();
  }
  int64_t size() const { return int64_t(units_.size()); }
  int32_t add(const Unit& unit) {
    int32_t& slot = slots_[place(unit)];
    if (slot < 0) {
      slot = int32_t(units_.size());
      units_.push_back(unit);
    }
    return slot;
  }
  // The unit's number, that of the next one if it has none.
  int32_t find(const Unit& unit) const {
    const int32_t slot = slots_[place(unit)];
    return slot < 0 ? int32_t(units_.size()) : slot;
  }

 private:
  size_t place(const Unit& unit) const {
    size_t at = unit.hash & (slots_.size() - 1);
    while (slots_[at] >= 0 && !(units_[slots_[at]] == unit)) at = (at + 1) & (slots_.size() - 1);
    return at;
  }
  std::vector<int32_t> slots_;
  std::vector<Unit> units_;
};

// Counts errors, with memory that serves one pair after the other.
class Counter {
 public:
  Counter(UnitKind kind, Costs costs) : kind_(kind), costs_(costs) {}

  // Substitutions, deletions, insertions, and units of the reference.
  void count(const uint32_t* reference, int64_t size, const uint32_t* hypothesis, int64_t other, int64_t* counts) {
    split(reference, size, kind_, left_);
    split(hypothesis, other, kind_, right_);
    rows_.clear();
    columns_.clear();
    numbers_.clear(int64_t(left_.size()));
    for (const Unit& unit : left_) rows_.push_back(numbers_.add(unit));
    for (const Unit& unit : right_) columns_.push_back(numbers_.find(unit));
    int64_t found[4] = {};
    const auto emit = [&found](Operation operation) { ++found[operation]; };
    align({rows_.data(), int64_t(rows_.size())}, {columns_.data(), int64_t(columns_.size())}, numbers_.size(), costs_,
          emit);
    counts[0] = found[SUBSTITUTE];
    counts[1] = found[DELETE];
    counts[2] = found[INSERT];
    counts[3] = int64_t(left_.size());
  }

 private:
  UnitKind kind_;
  Costs costs_;
  std::vector<Unit> left_, right_;
  Numbers numbers_;
  std::vector<int32_t> rows_, columns_;
};

// The status of what the function did.
template <class Function>
int32_t guarded(Function function) {
  try {
    return function();
  } catch (const std::bad_alloc&) {
    return NO_MEMORY;
  } catch (...) {
    return FAULT;
  }
}

}  // namespace

// -------------------------------------------------------------------------------- functions (edits.py)

// texts: code points of reference and hypothesis, reference and hypothesis ...; lengths: of each of them. counts:
// (pairs, 4), see Counter::count.
ABI int32_t asr_edit_counts(const uint32_t* texts, const int64_t* lengths, int64_t pairs, int32_t kind,
                            const Costs* costs, int64_t* counts) {
  return guarded([=] {
    if (kind < WORDS || kind > LETTERS) return FAULT;
    Counter counter{UnitKind(kind), *costs};
    const uint32_t* text = texts;
    for (int64_t n = 0; n < pairs; ++n) {
      const uint32_t* hypothesis = text + lengths[2 * n];
      counter.count(text, lengths[2 * n], hypothesis, lengths[2 * n + 1], counts + 4 * n);
      text = hypothesis + lengths[2 * n + 1];
    }
    return OK;
  });
}

// The operations of an alignment, the last one first, and how many; there is place for rows + columns of them. Ids
// are those of `align` above.
ABI int32_t asr_edit_operations(const int32_t* rows, int64_t num_rows, const int32_t* columns, int64_t num_columns,
                                int64_t units, const Costs* costs, uint8_t* operations, int64_t* count) {
  return guarded([=] {
    const auto within = [units](const int32_t* ids, int64_t size, int64_t most) {
      return std::all_of(ids, ids + size, [most](int32_t id) { return id >= 0 && id <= most; });
    };
    if (!within(rows, num_rows, units - 1) || !within(columns, num_columns, units)) return FAULT;
    uint8_t* next = operations;
    align({rows, num_rows}, {columns, num_columns}, units, *costs, [&next](Operation found) { *next++ = found; });
    *count = next - operations;
    return OK;
  });
}
