"""Recipes by name. Each is the function of the program that it is named after; the tests hold it to that.

At another rate: `dataclasses.replace(KALDI_80, sample_rate=8000, num_mels=40)`.
"""

from dataclasses import replace

from .frontends import LogMel, Mfcc, Spectrogram

KALDI_80 = LogMel(input_scale=32768.0, num_mels=80)
"""Kaldi's compute-fbank-feats with --num-mel-bins=80 --dither=0: the usual front end of its recipes."""

KALDI_40 = replace(KALDI_80, num_mels=40)
"""Kaldi's compute-fbank-feats with --num-mel-bins=40 --dither=0."""

KALDI_23 = replace(KALDI_80, num_mels=23)
"""Kaldi's compute-fbank-feats as it is by default, but for --dither=0."""

KALDI_80_UNIT = replace(KALDI_80, input_scale=1.0)
"""KALDI_80 of samples in [-1, 1] as they are: kaldi-native-fbank's OnlineFbank with dither=0, num_bins=80,
high_freq=0, fed floats (sherpa, wespeaker)."""

ICEFALL_80 = replace(KALDI_80_UNIT, framing="mirror", high_hz=7600.0)
"""lhotse 1.33's Fbank(FbankConfig()), which icefall trains on; in kaldi-native-fbank snip_edges=False,
high_freq=-400."""

KALDI_MFCC_13 = Mfcc(mel=KALDI_23, energy="raw")
"""Kaldi's compute-mfcc-feats as it is by default (--use-energy=true), but for --dither=0."""

KALDI_MFCC_40 = Mfcc(mel=replace(KALDI_40, high_hz=7600.0), num_ceps=40)
"""Kaldi's compute-mfcc-feats with the mfcc_hires.conf of its recipes at 16 kHz and --dither=0:
--use-energy=false --num-mel-bins=40 --num-ceps=40 --low-freq=20 --high-freq=-400."""

HTK_26 = LogMel(
    input_scale=32768.0,
    num_mels=26,
    remove_dc=False,
    window="hamming",
    power=1,
    low_hz=0.0,
    log_floor=1.0,
)
"""HTK's FBANK with NUMCHANS=26, WINDOWSIZE=250000, PREEMCOEF=0.97 and else its defaults: USEHAMMING=T,
USEPOWER=F, ZMEANSOURCE=F."""

HTK_MFCC_13 = Mfcc(mel=HTK_26, dct="htk", zeroth="last")
"""HTK's MFCC_0 with NUMCHANS=26, NUMCEPS=12, CEPLIFTER=22, else as HTK_26: c[1] .. c[12], c[0]."""

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

TENSORFLOW_MFCC_13 = Mfcc(mel=TENSORFLOW_80, lifter=0.0, dct="htk")
"""tf.signal.mfccs_from_log_mel_spectrograms(TENSORFLOW_80)[..., :13]."""

TENSORFLOW_SPECTROGRAM_257 = Spectrogram(
    input_scale=1.0,
    frame_length_ms=20.0,
    remove_dc=False,
    pre_emphasis=0.0,
    window="hann-periodic",
    log_floor=0.0,
    log_offset=1e-12,
)
"""tf.signal: ln(|stft(frame_length=320, frame_step=160, fft_length=512)|^2 + 1e-12)."""

TENSORFLOW_ASR_80 = LogMel(
    input_scale=1.0,
    num_mels=80,
    framing="pad-end",
    remove_dc=False,
    pre_emphasis_over="signal",
    window="hann-periodic",
    mel="tensorflow",
    low_hz=0.0,
    log_floor=0.0,
    log_offset=1e-6,
)
"""TensorFlowASR's FeatureExtraction of "log_mel_spectrogram" without normalisation, in tf.signal:
stft(400, 160, 512, pad_end=True) of the pre-emphasised signal, linear_to_mel_weight_matrix(80, 257, 16000,
0, 8000), ln(E + 1e-6)."""

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

LIBROSA_MFCC_20 = Mfcc(
    mel=replace(
        LIBROSA_80,
        sample_rate=22050,
        num_mels=128,
        frame_length_ms=2048 / 22.05,
        frame_shift_ms=512 / 22.05,
        fft_length=2048,
        log="db",
        top=80.0,
    ),
    num_ceps=20,
    lifter=0.0,
)
"""librosa 0.11: feature.mfcc(sr=22050)."""

WHISPER_80 = replace(LIBROSA_80, framing="reflect-floor", log="whisper", top=8.0)
"""Whisper's log_mel_spectrogram with 80 filters (all models before large-v3). Whisper first pads audio with
zeros to 30 s: so must you."""

WHISPER_128 = replace(WHISPER_80, num_mels=128)
"""Whisper's log_mel_spectrogram(n_mels=128), of large-v3 and turbo."""

TORCHAUDIO_80 = replace(LIBROSA_80, framing="reflect", mel="htk")
"""torchaudio: ln(max(1e-10, transforms.MelSpectrogram(16000, n_fft=400, hop_length=160, n_mels=80)))."""

NEMO_80 = replace(
    LIBROSA_80,
    framing="center-floor",
    pre_emphasis=0.97,
    pre_emphasis_over="signal",
    window="hann",
    fft_length=512,
    log_floor=0.0,
    log_offset=2.0**-24,
)
"""NeMo's AudioToMelSpectrogramPreprocessor(features=80, dither=0, normalize=None) at its defaults: 25 ms
frames, 10 ms apart, n_fft=512. UtteranceNorm after it is NeMo's normalize="per_feature"."""

ESPNET_80 = replace(LIBROSA_80, framing="reflect", frame_length_ms=32.0, frame_shift_ms=8.0, fft_length=512)
"""ESPnet's DefaultFrontend at its defaults, after its LogMel: n_fft=512, hop_length=128, n_mels=80."""

PSF_26 = LogMel(
    input_scale=32768.0,
    num_mels=26,
    framing="cover",
    remove_dc=False,
    pre_emphasis_over="signal",
    window="rectangular",
    mel="psf",
    low_hz=0.0,
    log_floor=2.0**-52,
)
"""python_speech_features.logfbank at its defaults, of int16 samples at 16 kHz."""

PSF_MFCC_13 = Mfcc(mel=PSF_26, energy="spectrum")
"""python_speech_features.mfcc at its defaults, of int16 samples at 16 kHz."""

PRESETS: dict[str, Spectrogram | LogMel | Mfcc] = {
    "kaldi-80": KALDI_80,
    "kaldi-40": KALDI_40,
    "kaldi-23": KALDI_23,
    "kaldi-80-unit": KALDI_80_UNIT,
    "icefall-80": ICEFALL_80,
    "kaldi-mfcc-13": KALDI_MFCC_13,
    "kaldi-mfcc-40": KALDI_MFCC_40,
    "htk-26": HTK_26,
    "htk-mfcc-13": HTK_MFCC_13,
    "tensorflow-80": TENSORFLOW_80,
    "tensorflow-mfcc-13": TENSORFLOW_MFCC_13,
    "tensorflow-spectrogram-257": TENSORFLOW_SPECTROGRAM_257,
    "tensorflow-asr-80": TENSORFLOW_ASR_80,
    "librosa-80": LIBROSA_80,
    "librosa-mfcc-20": LIBROSA_MFCC_20,
    "whisper-80": WHISPER_80,
    "whisper-128": WHISPER_128,
    "torchaudio-80": TORCHAUDIO_80,
    "nemo-80": NEMO_80,
    "espnet-80": ESPNET_80,
    "psf-26": PSF_26,
    "psf-mfcc-13": PSF_MFCC_13,
}
