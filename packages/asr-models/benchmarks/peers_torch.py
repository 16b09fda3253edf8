"""The networks of `whole_step.py` in PyTorch, as one writes them there, and as quick as they are there.

The recurrent layers are given the padded batch: packed sequences, which they need for exact lengths, are slower.
"""

import torch
from torch import nn
from torch.nn import functional
from training_step import BEGIN, END
from whole_step import DS2, LAS, batch_of


class DeepSpeech2(nn.Module):
    """Two convolutions, bidirectional LSTM layers, CTC."""

    def __init__(self, features, vocabulary):
        super().__init__()
        blocks, channels, width = [], 1, features
        for each in DS2.convolutions:
            padding = [(size - 1) // 2 for size in each.kernel]
            blocks.append(nn.Conv2d(channels, each.channels, each.kernel, each.stride, padding, bias=False))
            blocks += [nn.BatchNorm2d(each.channels), nn.Hardtanh(0, 20)]
            channels, width = each.channels, -(-width // each.stride[1])
        self.convolutions = nn.Sequential(*blocks)
        units, layers = DS2.recurrent_units, DS2.recurrent_layers
        self.recurrent = nn.LSTM(channels * width, units, layers, batch_first=True, bidirectional=True)
        self.output = nn.Linear(2 * units, vocabulary)

    def losses(self, batch):
        values = self.convolutions(batch.features[:, None])
        values = values.permute(0, 2, 3, 1).flatten(2)
        log_probs = self.output(self.recurrent(values)[0]).float().log_softmax(-1).transpose(0, 1)
        lengths = -(-batch.lengths // DS2.stride)
        losses = functional.ctc_loss(log_probs, batch.labels, lengths, batch.label_lengths, reduction="none")
        return losses, batch.label_lengths


class Las(nn.Module):
    """A pyramid of LSTM layers, location-aware attention, a speller with input feeding."""

    def __init__(self, features, vocabulary):
        super().__init__()
        units, hidden, attention = LAS.listener_units, LAS.speller_units, LAS.attention_units
        memory = 2 * units
        widths = [features] + [2 * memory] * (LAS.listener_layers - 1)
        self.listener = nn.ModuleList(nn.LSTM(each, units, batch_first=True, bidirectional=True) for each in widths)
        self.embedding = nn.Embedding(vocabulary, LAS.embedding_units)
        self.cells = nn.ModuleList([nn.LSTMCell(LAS.embedding_units + memory, hidden), nn.LSTMCell(hidden, hidden)])
        self.query, self.key = nn.Linear(hidden, attention), nn.Linear(memory, attention, bias=False)
        width = LAS.location_width
        self.filters = nn.Conv1d(1, LAS.location_channels, width, padding=width // 2, bias=False)
        self.location, self.score = nn.Linear(LAS.location_channels, attention, bias=False), nn.Linear(attention, 1)
        self.output = nn.Linear(hidden + memory, vocabulary)

    def listen(self, batch):
        values, lengths = batch.features, batch.lengths
        for n, layer in enumerate(self.listener):
            if n:
                values, lengths = values.reshape(len(values), values.shape[1] // 2, -1), -(-lengths // 2)
            values, _ = layer(values)
        return values, torch.arange(values.shape[1])[None] < lengths[:, None]

    def losses(self, batch):
        memory, real = self.listen(batch)
        keys, rows = self.key(memory), len(memory)
        inputs = self.embedding(functional.pad(batch.labels, (1, 0), value=BEGIN))
        states = [(memory.new_zeros(rows, LAS.speller_units),) * 2 for _ in self.cells]
        context, alignment, outputs = memory.new_zeros(rows, memory.shape[2]), memory.new_zeros(real.shape), []
        for each in inputs.unbind(1):
            values = torch.cat([each, context], -1)
            for n, cell in enumerate(self.cells):
                states[n] = cell(values, states[n])
                values = states[n][0]
            location = self.location(self.filters(alignment[:, None]).transpose(1, 2))
            scores = self.score(torch.tanh(keys + self.query(values)[:, None] + location))[..., 0]
            alignment = scores.masked_fill(~real, -1e9).softmax(-1)
            context = torch.bmm(alignment[:, None].to(memory.dtype), memory)[:, 0]
            outputs.append(torch.cat([values, context], -1))
        logits = self.output(torch.stack(outputs, 1)).float()
        tokens = batch.label_lengths + 1
        targets = functional.pad(batch.labels, (0, 1)).scatter(1, batch.label_lengths[:, None], END)
        targets = targets.masked_fill(torch.arange(targets.shape[1])[None] >= tokens[:, None], -100)
        each = functional.cross_entropy(logits.transpose(1, 2), targets, label_smoothing=0.1, reduction="none")
        return each.sum(1), tokens


def step_of(family, dtype, threads):
    """A training step that gives its loss."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    batch, sizes = batch_of(family)
    batch = type(batch)(*(torch.from_numpy(part) for part in batch))
    batch = batch._replace(**{name: getattr(batch, name).long() for name in batch._fields[1:]})
    model = {"las": Las, "deepspeech2": DeepSpeech2}[family](*sizes)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)

    def step():
        optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == "bfloat16"):
            losses, tokens = model.losses(batch)
        loss = losses.sum() / tokens.sum()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        return loss.item()

    return step, sum(each.numel() for each in model.parameters())
