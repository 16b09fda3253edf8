"""Recipes by name. Each is the function of the program that it is named after; the tests hold it to that.

At another rate: `dataclasses.replace(KALDI_80, sample_rate=8000, num_mels=40)`.
"""

from dataclasses import replace

from .frontends import LogMel

KALDI_80 = LogMel(input_scale=32768.0, num_mels=80)
"""Kaldi's compute-fbank-feats with --num-mel-bins=80 --dither=0: the usual front end of its recipes."""

KALDI_40 = replace(KALDI_80, num_mels=40)
"""Kaldi's compute-fbank-feats with --num-mel-bins=40 --dither=0."""

KALDI_23 = replace(KALDI_80, num_mels=23)
"""Kaldi's compute-fbank-feats as it is by default, but for --dither=0."""

TENSORFLOW_80 = LogMel(
    input_scale=1.0,
    num_mels=80,
    frame_length_ms=20.0,
    remove_dc=False,
    pre_emphasis=0.0,
    window="hann-periodic",
    mel="tensorflow",
    low_hz=80.0,
    high_hz=7600.0,
    log_floor=0.0,
    log_offset=1e-12,
)
"""tf.signal: stft(frame_length=320, frame_step=160, fft_length=512), the squared magnitude,
linear_to_mel_weight_matrix(80, 257, 16000, 80, 7600), ln(E + 1e-12)."""

LIBROSA_80 = LogMel(
    input_scale=1.0,
    num_mels=80,
    framing="center",
    remove_dc=False,
    pre_emphasis=0.0,
    window="hann-periodic",
    fft_length=400,
    mel="slaney",
    low_hz=0.0,
    log_floor=1e-10,
)
"""librosa 0.11: ln(max(1e-10, feature.melspectrogram(sr=16000, n_fft=400, hop_length=160, n_mels=80)))."""

WHISPER_80 = replace(LIBROSA_80, framing="reflect", log="whisper")
"""Whisper's log_mel_spectrogram with 80 filters (all models before large-v3). Whisper first pads audio with
zeros to 30 s: so must you."""

PRESETS: dict[str, LogMel] = {
    "kaldi-80": KALDI_80,
    "kaldi-40": KALDI_40,
    "kaldi-23": KALDI_23,
    "tensorflow-80": TENSORFLOW_80,
    "librosa-80": LIBROSA_80,
    "whisper-80": WHISPER_80,
}
