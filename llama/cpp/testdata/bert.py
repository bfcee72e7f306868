# Writes testdata/bert.gguf, a BERT of two layers with random weights, for the tests of encoders. Needs gguf and numpy of PyPI:
#
#   python bert.py bert.gguf
import sys

import gguf
import numpy as np
from gguf import GGUFWriter

rng = np.random.default_rng(1)
d, ff, layers, ctx = 16, 32, 2, 64
w = GGUFWriter(sys.argv[1], "bert")
w.add_name("tiny")
w.add_context_length(ctx)
w.add_embedding_length(d)
w.add_feed_forward_length(ff)
w.add_block_count(layers)
w.add_head_count(2)
w.add_layer_norm_eps(1e-12)
w.add_causal_attention(False)
w.add_pooling_type(gguf.PoolingType.CLS)
w.add_token_type_count(2)
vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"] + ["\u2581" + c for c in "abcdefghijklmnopqrstuvwxyz,.!"] + list("abcdefghijklmnopqrstuvwxyz")
types = [3]*5 + [1]*(len(vocab)-5)
w.add_tokenizer_model("bert")
w.add_tokenizer_pre("default")
w.add_token_list(vocab)
w.add_token_types(types)
w.add_bos_token_id(2)
w.add_eos_token_id(3)
w.add_unk_token_id(1)
w.add_sep_token_id(3)
w.add_pad_token_id(0)
w.add_mask_token_id(4)
w.add_add_bos_token(True)


def t(name, *shape):
    w.add_tensor(name, (rng.standard_normal(shape)*0.5).astype(np.float32))


def ln(name):
    w.add_tensor(name+".weight", np.ones(d, np.float32))
    w.add_tensor(name+".bias", np.zeros(d, np.float32))

t("token_embd.weight", len(vocab), d)
t("position_embd.weight", ctx, d)
t("token_types.weight", 2, d)
ln("token_embd_norm")
for i in range(layers):
    for n in ("attn_q", "attn_k", "attn_v", "attn_output"):
        t(f"blk.{i}.{n}.weight", d, d)
        t(f"blk.{i}.{n}.bias", d)
    ln(f"blk.{i}.attn_output_norm")
    ln(f"blk.{i}.layer_output_norm")
    t(f"blk.{i}.ffn_up.weight", ff, d)
    t(f"blk.{i}.ffn_up.bias", ff)
    t(f"blk.{i}.ffn_down.weight", d, ff)
    t(f"blk.{i}.ffn_down.bias", d)
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
