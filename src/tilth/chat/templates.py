"""The chat templates that come with tilth, for a tokenizer that has none, or to look at text without any tokenizer.

Both mark what the assistant writes, its end of turn included, with `{% generation %}`, as transformers expects it.
"""

from __future__ import annotations

CHATML = """\
{%- for message in messages -%}
{{- '<|im_start|>' ~ message.role ~ '\\n' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- message.content -}}{{- '<|im_end|>' -}}
{%- endgeneration -%}
{%- else -%}
{{- message.content -}}{{- '<|im_end|>' -}}
{%- endif -%}
{{- '\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- '<|im_start|>assistant\\n' -}}
{%- endif -%}
"""

# The space after the colon belongs to the answer: most tokenizers join it to the word that follows.
PLAIN = """\
{%- for message in messages -%}
{{- message.role | capitalize ~ ':' -}}
{%- if message.role == 'assistant' -%}
{%- generation -%}
{{- ' ' -}}{{- message.content -}}{{- eos_token | default('\\n\\n') -}}
{%- endgeneration -%}
{%- if eos_token is defined -%}{{- '\\n\\n' -}}{%- endif -%}
{%- else -%}
{{- ' ' -}}{{- message.content -}}{{- '\\n\\n' -}}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}
{{- 'Assistant:' -}}
{%- endif -%}
"""

TEMPLATES = {"chatml": CHATML, "plain": PLAIN}
"""The built-in templates by name."""
