/* template_seeds.c FOLDER: writes the seeds of fuzz_template: templates that reach every part of the engine. */
#include <stdio.h>
#include <string.h>

static const char *const seeds[] = {
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + (m.content or '') }}{% endfor %}",
    "{%- set ns = namespace(a=1) -%}{% for x in l if x > 1 %}{% set ns.a = ns.a + x %}{{ loop.index }}{% else %}{% "
    "endfor %}",
    "{% macro m(a, b=2) %}{{ a }}{{ caller(1) if caller }}{{ kwargs }}{% endmacro %}{% call(q) m(1) %}{{ q }}{% "
    "endcall %}",
    "{{ tools | tojson(indent=2) }}{{ d | dictsort }}{{ messages | selectattr('role', 'eq', 'user') | list }}",
    "{{ l[::-1] }}{{ s[1:] }}{{ 1 < n < 5 }}{{ -7 // 2 ** 2 % 3 }}{{ 'a' ~ f }}{{ not s in d }}{{ n is divisibleby 3 "
    "}}",
    "{# c -#} {% raw %}{{ x }}{% endraw %}{%+ if n %}a{% elif f %}b{% else %}c{% endif -%} z",
    "{{ '%s %5.1f' % (s, f) }}{{ '{:>5} {a!r}'.format(n, a=s) }}{{ s.split(' ')[0].replace('a', 'b').title() }}",
    "{% filter upper | indent(2) %}{% set x | trim %} a {% endset %}{{ x }}{% endfilter %}{% with y=1 %}{{ y }}{% "
    "endwith %}",
    "{{ s | truncate(2) }}{{ s | wordwrap(1) }}{{ s | center(9) }}{{ l | batch(2, 0) | list }}{{ l | sort | "
    "join(',') }}",
    "{% for x in l recursive %}{{ loop.cycle(1, 2) }}{% if loop.first %}{{ loop([1]) }}{% break %}{% endif %}{% "
    "endfor %}",
    "{{ strftime_now('%Y') }}{{ cycler(1).next() }}{{ joiner()() }}{{ dict(a=1) }}{{ range(3) }}{{ "
    "raise_exception('x') }}",
    "{{ l | groupby('x') }}{{ l | map('string') | unique | list }}{{ f | round(1, 'ceil') }}{{ s | urlencode | "
    "escape }}",
    "{{ l | select | list }}{{ l | reject() | list }}{{ l | map | list }}", /* without arguments there are none */
};

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: %s FOLDER\n", argv[0]);
        return 2;
    }
    for (size_t i = 0; i < sizeof seeds / sizeof *seeds; i++) {
        char path[4096];
        snprintf(path, sizeof path, "%s/seed-%02zu.template", argv[1], i);
        FILE *f = fopen(path, "wb");
        if (!f || fwrite(seeds[i], 1, strlen(seeds[i]), f) != strlen(seeds[i]) || fclose(f)) {
            perror(path);
            return 1;
        }
    }
    return 0;
}
