"""The networks of `training_step.py` in PyTorch, as one writes them there, and as quick as they are there.

The recurrent layers are given the padded batch: packed sequences, which they need for exact lengths, are slower. Of the
two biases that they have one is held at zero, so that there are as many parameters as elsewhere.
"""

import torch
from corpora import BEGIN, END
from torch import nn
from torch.nn import functional


class Convolutions(nn.Module):
    """Convolution, batch normalisation, clipped ReLU; `(B, T, F)` -> `(B, T', width)`."""

    def __init__(self, configs, features):
        super().__init__()
        blocks, channels, width = [], 1, features
        for each in configs:
            padding = [(size - 1) // 2 for size in each.kernel]
            blocks.append(nn.Conv2d(channels, each.channels, each.kernel, each.stride, padding, bias=False))
            blocks += [nn.BatchNorm2d(each.channels), nn.Hardtanh(0, 20)]
            channels, width = each.channels, -(-width // each.stride[1])
        self.blocks, self.configs, self.width = nn.Sequential(*blocks), configs, channels * width

    def forward(self, values, lengths):
        if self.configs:
            values = self.blocks(values[:, None]).transpose(1, 2).flatten(2)
        for each in self.configs:
            lengths = -(-lengths // each.stride[0])
        return values, lengths


def recurrent(inputs, units):
    """A layer in both directions."""
    return one_bias(nn.LSTM(inputs, units, batch_first=True, bidirectional=True))


def one_bias(layer):
    for name, parameter in layer.named_parameters():
        if name.startswith("bias_hh"):
            nn.init.zeros_(parameter).requires_grad_(False)
    return layer


def ctc(logits, lengths, batch):
    """`(B,)`; what has no path counts as nothing, as in ours."""
    log_probs = logits.log_softmax(-1).transpose(0, 1)
    return functional.ctc_loss(
        log_probs, batch.labels, lengths, batch.label_lengths, reduction="none", zero_infinity=True
    )


class DeepSpeech2(nn.Module):
    """Convolutions, recurrent layers whose directions add up, batch normalisation before all but the first, CTC."""

    def __init__(self, config, features, vocabulary):
        super().__init__()
        self.convolutions, self.units = Convolutions(config.model.convolutions, features), config.model.recurrent_units
        widths = [self.convolutions.width] + [self.units] * (config.model.recurrent_layers - 1)
        self.recurrent = nn.ModuleList(recurrent(width, self.units) for width in widths)
        self.norms = nn.ModuleList(nn.BatchNorm1d(self.units) for _ in widths)
        self.dropout, self.output = nn.Dropout(config.model.dropout), nn.Linear(self.units, vocabulary)

    def losses(self, batch):
        values, lengths = self.convolutions(batch.features, batch.feature_lengths)
        for layer, norm in zip(self.recurrent, self.norms, strict=True):
            both = layer(values)[0]
            values = self.dropout(both[..., : self.units] + both[..., self.units :])
            values = norm(values.flatten(0, 1)).view(values.shape)  # quicker than with channels in the middle
        return ctc(self.output(values), lengths, batch)


class Las(nn.Module):
    """A pyramid of recurrent layers, location-aware attention, a speller with input feeding, CTC on the listener."""

    def __init__(self, config, features, vocabulary):
        super().__init__()
        self.config, self.train_config = config.model, config.train
        self.convolutions, units = Convolutions(self.config.convolutions, features), self.config.listener_units
        hidden, attention, memory = self.config.speller_units, self.config.attention_units, 2 * units
        widths = [self.convolutions.width] + [2 * memory] * (self.config.listener_layers - 1)
        self.listener = nn.ModuleList(recurrent(width, units) for width in widths)
        self.dropout = nn.Dropout(self.config.dropout)
        self.embedding = nn.Embedding(vocabulary, self.config.embedding_units)
        widths = [self.config.embedding_units + memory] + [hidden] * (self.config.speller_layers - 1)
        self.cells = nn.ModuleList(one_bias(nn.LSTMCell(width, hidden)) for width in widths)
        self.query, self.key = nn.Linear(hidden, attention), nn.Linear(memory, attention, bias=False)
        channels, width = self.config.location_channels, self.config.location_width
        self.filters = nn.Conv1d(1, channels, width, padding=width // 2, bias=False)
        self.location, self.score = (nn.Linear(*sizes, bias=False) for sizes in ((channels, attention), (attention, 1)))
        self.output = nn.Linear(hidden + memory, vocabulary)
        self.head = nn.Linear(memory, vocabulary) if self.config.ctc_head else None

    def listen(self, batch):
        values, lengths = self.convolutions(batch.features, batch.feature_lengths)
        for n, layer in enumerate(self.listener):
            if n:
                values = functional.pad(values, (0, 0, 0, values.shape[1] % 2))
                values, lengths = values.reshape(len(values), values.shape[1] // 2, -1), -(-lengths // 2)
            values = self.dropout(layer(values)[0])
        return values, lengths

    def spell(self, memory, lengths, tokens):
        """`(B, U)` -> `(B, U, V)`; some tokens are the speller's own guesses."""
        beyond = torch.arange(memory.shape[1])[None] >= lengths[:, None]
        keys, rows, outputs, guess = self.key(memory), len(memory), [], tokens[:, 0]
        states = [(memory.new_zeros(rows, self.config.speller_units),) * 2 for _ in self.cells]
        context, alignment = memory.new_zeros(rows, memory.shape[2]), memory.new_zeros(beyond.shape)
        own = torch.rand(tokens.shape) < self.config.sampling
        for token, instead in zip(tokens.unbind(1), own.unbind(1), strict=True):
            values = torch.cat([self.embedding(torch.where(instead, guess, token)), context], -1)
            for n, cell in enumerate(self.cells):
                states[n] = cell(values, states[n])
                values = states[n][0]
            location = self.location(self.filters(alignment[:, None]).transpose(1, 2))
            scores = self.score(torch.tanh(keys + self.query(values)[:, None] + location))[..., 0]
            alignment = scores.masked_fill(beyond, -1e9).softmax(-1)
            context = torch.bmm(alignment[:, None], memory)[:, 0]
            outputs.append(torch.cat([values, context], -1))
            if self.config.sampling:
                with torch.no_grad():
                    guess = self.output(outputs[-1]).argmax(-1)
        return self.output(self.dropout(torch.stack(outputs, 1)))

    def losses(self, batch):
        memory, lengths = self.listen(batch)
        logits = self.spell(memory, lengths, functional.pad(batch.labels, (1, 0), value=BEGIN))
        targets = functional.pad(batch.labels, (0, 1)).scatter(1, batch.label_lengths[:, None], END)
        beyond = torch.arange(targets.shape[1])[None] > batch.label_lengths[:, None]
        spelled = functional.cross_entropy(
            logits.transpose(1, 2),
            targets.masked_fill(beyond, -100),
            label_smoothing=self.train_config.label_smoothing,
            reduction="none",
        ).sum(1)
        if self.head is None:
            return spelled
        weight = self.train_config.ctc_weight
        return (1 - weight) * spelled + weight * ctc(self.head(memory), lengths, batch)


def step_of(config, batches, vocabulary):
    """A training step on batch n, which gives the loss a label, and the number of parameters."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)  # as TensorFlow does
    torch.manual_seed(0)
    model = {"las": Las, "deepspeech2": DeepSpeech2}[config.model.kind](config, config.features.dim, vocabulary)
    weights = [each for each in model.parameters() if each.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-4, fused=True)
    batches = [type(batch)(*map(torch.from_numpy, batch)) for batch in batches]
    ints = batches[0]._fields[1:]
    batches = [batch._replace(**{name: getattr(batch, name).long() for name in ints}) for batch in batches]

    def step(n):
        optimizer.zero_grad()
        loss = model.losses(batches[n]).sum() / batches[n].label_lengths.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(weights, config.train.clip_norm)
        optimizer.step()
        return loss.item()

    return step, sum(each.numel() for each in weights)
