"""small.py: the small cases of make_jinja.py: one feature each. A line is a template; those that begin with '!' stand
for templates with line ends, written as Python literals. The context is the same for all."""

CONTEXT = {
    "n": 7, "m": -3, "f": 2.5, "big": 9007199254740993, "s": "Hello World", "u": "zażółć 漢字 ß 🙂", "e": "",
    "none": None, "t": True, "no": False, "l": [3, 1, 2], "words": ["pear", "Apple", "fig", "apple"], "el": [],
    "d": {"b": 2, "a": 1, "C": 3}, "ed": {}, "html": "<a href=\"x\">T & 'q'</a>",
    "users": [{"name": "Ann", "age": 31, "on": True}, {"name": "bob", "age": 25, "on": False},
              {"name": "Cy", "age": 31, "on": True, "x": {"y": [5, 6]}}],
    "nested": {"items": [1, 2], "k": {"z": "deep"}}, "mixed": [1, "a", None, 2.0, True, [1], {"k": "v"}],
    "text": "one two  three\nfour\n\n  five", "tree": [{"v": 1, "c": [{"v": 2, "c": [{"v": 3, "c": []}]}]}, {"v": 4, "c": []}],
}

LINES = r"""
end{% raw %}
{{ d[ ] }}|{{ l[] is undefined }}|{{ s[] }}|{{ d[()] }}
{% for x in l %}{% with y = x %}{% if y == 1 %}{% break %}{% endif %}{{ y }}{% endwith %}{% endfor %}.
{% for y in l %}{% for x in el %}{% else %}{% break %}{% endfor %}{{ y }}{% endfor %}.
plain text
{{ n }}|{{ m }}|{{ f }}|{{ s }}|{{ none }}|{{ t }}|{{ no }}|{{ missing }}
{{ l }}|{{ d }}|{{ users }}
{{ mixed }}
{{ 'it\'s' }}|{{ ["it's", 'a"b', 'both\'"', 'tab\t', 'nl\n', '\\'] }}
{{ u }}|{{ [u] }}|{{ ['\x00\x1f\x7f\xa0\u200b\U0001f642é'] }}
{{ 1.0 }}|{{ 0.1 }}|{{ 1e16 }}|{{ 1e15 }}|{{ 123456789.125 }}|{{ 1e-5 }}|{{ 0.0001 }}|{{ 1.5e300 }}|{{ 1e22 }}|{{ -0.0 }}
{{ 0.1 + 0.2 }}|{{ 1/3 }}|{{ 2/3 }}|{{ 100/3 }}|{{ 5e-324 }}|{{ 1.7976931348623157e308 }}
{{ 1_000 }}|{{ 0x1F }}|{{ 0o17 }}|{{ 0b101 }}|{{ 1_0.5_0 }}|{{ 1e3 }}
{{ n + 2 }}|{{ n - 10 }}|{{ n * m }}|{{ n / 2 }}|{{ n // 2 }}|{{ n % 3 }}|{{ n ** 2 }}
{{ -7 // 2 }}|{{ -7 % 3 }}|{{ 7 % -3 }}|{{ -7.5 // 2 }}|{{ -7.5 % 2 }}|{{ 7.5 % -2 }}|{{ 6.0 // 2 }}|{{ 6 % 2.0 }}
{{ 2 ** 3 ** 2 }}|{{ -2 ** 2 }}|{{ 2 ** -1 }}|{{ 2.0 ** 0.5 }}|{{ 0 ** 0 }}
{{ 1 + 2 * 3 - 4 / 2 }}|{{ (1 + 2) * 3 }}|{{ 10 - 3 - 2 }}|{{ 100 // 7 // 2 }}
{{ 'a' + 'b' }}|{{ 'ab' * 3 }}|{{ 3 * 'ab' }}|{{ [1] + [2, 3] }}|{{ [0] * 3 }}|{{ (1,) + (2,) }}
{{ 'a' ~ 1 ~ 2.0 ~ none ~ true ~ missing ~ [1] }}
{{ true + 1 }}|{{ true * 3 }}|{{ -true }}|{{ +5 }}|{{ - 5 }}|{{ not 0 }}|{{ not not 'x' }}
{{ 1 < 2 }}|{{ 1 <= 1.0 }}|{{ 'a' < 'b' }}|{{ [1, 2] < [1, 3] }}|{{ 2 > 1 > 0 }}|{{ 1 < 3 < 2 }}|{{ 1 == 1.0 == true }}
{{ 'World' in s }}|{{ 'x' not in s }}|{{ 3 in l }}|{{ 'a' in d }}|{{ 9 not in l }}|{{ none in mixed }}|{{ 'q' in missing }}
{{ none == none }}|{{ missing == missing }}|{{ [] == () }}|{{ {'a': 1} == {'a': 1.0} }}|{{ 'a' != 'b' }}|{{ (1, 2) == (1, 2) }}
{{ 0 or 'x' }}|{{ 'a' and 'b' }}|{{ '' or [] }}|{{ 1 and 0 or 2 }}|{{ not (1 and 0) }}
{{ 'y' if n > 5 else 'z' }}|{{ 'y' if n > 9 }}|{{ 'a' if no else 'b' if no else 'c' }}
{{ l[0] }}|{{ l[-1] }}|{{ l[9] }}|{{ s[0] }}|{{ s[-1] }}|{{ u[3] }}|{{ u[-1] }}|{{ d['a'] }}|{{ d.a }}|{{ d.nope }}|{{ l.0 }}
{{ nested.k.z }}|{{ nested['k']['z'] }}|{{ nested['items'] }}|{{ users[2].x.y[1] }}|{{ users.0.name }}
{{ l[1:] }}|{{ l[:2] }}|{{ l[::-1] }}|{{ l[-2:] }}|{{ l[5:] }}|{{ s[1:4] }}|{{ s[::-1] }}|{{ u[2:5] }}|{{ s[::2] }}|{{ s[-3:] }}|{{ s[:-6] }}
{{ l[::-2] }}|{{ s[4:1:-1] }}|{{ l[1:1] }}|{{ (1,2,3)[1:] }}|{{ s[-100:100] }}|{{ l[2:0:-1] }}|{{ l[none:2] }}
{{ (1, 2) }}|{{ (1,) }}|{{ () }}|{{ 1, 2 }}|{{ [1, [2, (3,)],] }}|{{ {'a': {'b': none}, 2: 1.5,} }}|{{ {} }}
{{ {1: 'a', 1.0: 'b', true: 'c'} }}|{{ {'x': 1, 'x': 2} }}
{{ "a" 'b' "c" }}|{{ '\u00e9\n\x41\101\q' }}
{# comment #}a{#- b -#} c {#+ d #}
{% if n %}yes{% endif %}{% if m > 0 %}a{% elif f > 2 %}b{% else %}c{% endif %}
{% if missing %}a{% else %}b{% endif %}{% if e %}a{% elif el %}b{% elif ed %}c{% else %}d{% endif %}
{% for x in l %}{{ x }},{% endfor %}|{% for x in el %}{{ x }}{% else %}none{% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}
{% for c in 'añ🙂' %}[{{ c }}]{% endfor %}{% for x in missing %}x{% else %}empty{% endfor %}
{% for x in l if x > 1 %}{{ loop.index }}:{{ x }}/{{ loop.length }} {% endfor %}
{% for x in l if x > 9 %}a{% else %}b{% endfor %}
{% for x in 'abc' %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }}{{ loop.depth }}{{ loop.depth0 }} {% endfor %}
{% for x in 'abc' %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }} {% endfor %}
{% for x in [1,1,2,2] %}{{ loop.changed(x) }}{{ loop.cycle('a','b','c') }} {% endfor %}
{% for x in range(10) %}{% if x == 2 %}{% continue %}{% endif %}{% if x == 5 %}{% break %}{% endif %}{{ x }}{% endfor %}
{% for x in l recursive %}{{ x }}{% endfor %}
{% for x in tree recursive %}{{ loop.depth }}:{{ x.v }}{% if x.c %}[{{ loop(x.c) }}]{% endif %}{% endfor %}
{% for a, (b, c) in [(1, (2, 3)), (4, (5, 6))] %}{{ a }}{{ b }}{{ c }} {% endfor %}
{% for x in l %}{% for y in 'ab' %}{{ x }}{{ y }}{{ loop.index }} {% endfor %}{{ loop.index }};{% endfor %}
{% set x = 1 %}{{ x }}{% set x = x + 1 %}{{ x }}{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set c = (1, 2) %}{{ c }}
{% set x = 0 %}{% for i in l %}{{ x }}{% set x = x + i %}{{ x }} {% endfor %}{{ x }}
{% set ns = namespace(x=0, y='q') %}{% for i in l %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}
{% set ns = namespace({'a': 1}, b=2) %}{{ ns.a }}{{ ns.b }}{% set ns.a = [1] %}{{ ns.a }}
{% if true %}{% set x = 5 %}{% endif %}{{ x }}{% if false %}{% set s = 1 %}{% endif %}{{ s }}
{% set x %}a{{ n }}b{% endset %}{{ x }}|{% set y | upper | replace('A', 'z') %}abca{% endset %}{{ y }}
{% with a=1, b=n %}{{ a }}{{ b }}{% set q = 3 %}{{ q }}{% endwith %}{{ a }}{{ q }}
{% with %}{% set q = 3 %}{{ q }}{% endwith %}|{{ q }}
{% macro m(a, b=2, c='x') %}{{ a }}{{ b }}{{ c }};{% endmacro %}{{ m(1) }}{{ m(1, c=3) }}{{ m(b=5) }}{{ m(1,2,3) }}{{ m.name }}
{% macro m() %}{{ varargs }}{{ kwargs }}{% endmacro %}{{ m(1, 2, k='v') }}{{ m() }}
{% macro m(x) %}[{{ caller() }}{{ x }}]{% endmacro %}{% call m(1) %}body{{ n }}{% endcall %}
{% macro m() %}{{ caller(1, 2) }}{{ caller(b=3, a=4) }}{% endmacro %}{% call(a, b) m() %}{{ a }}-{{ b }} {% endcall %}
{% macro f(n) %}{{ n }}{% if n > 0 %}{{ f(n - 1) }}{% endif %}{% endmacro %}{{ f(5) }}
{% macro g() %}{{ x }}{% endmacro %}{% set x = 1 %}{{ g() }}{% set x = 2 %}{{ g() }}
{% macro h(a, b=a ~ '!') %}{{ a }}{{ b }}{% endmacro %}{{ h('q') }}
{% macro m() %}{% if caller %}c{% else %}n{% endif %}{% endmacro %}{{ m() }}{% call m() %}{% endcall %}
{% macro a(x) %}<{{ x }}>{% endmacro %}{{ a(a(1)) | upper }}|{{ a(1) is string }}
{% filter upper %}abc {{ s }}{% endfilter %}|{% filter replace('a', 'b') | title %}aaa cc{% endfilter %}
{% raw %}{{ not }} {% if %}{% endraw %}|{% raw -%}  x  {%- endraw %}|
{% generation %}gen {{ n }}{% endgeneration %}
{% print n, s %}
{{ d.keys() }}|{{ d.values() }}|{{ d.items() }}|{{ d.keys() | list }}|{{ d.items() | list }}|{{ d.get('a') }}|{{ d.get('q') }}|{{ d.get('q', 5) }}
{{ nested.items() | list }}|{{ nested.get('k').get('z') }}
{{ range(3) | list }}|{{ range(2, 5) | list }}|{{ range(5, 0, -2) | list }}|{{ range(3) }}|{{ range(1, 9, 2) }}|{{ range(0) | list }}|{{ range(3)[1] }}
{{ dict(a=1, b=2) }}|{{ dict([('x', 1)]) }}|{{ dict({'q': 1}, r=2) }}
{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.next() }}
{% set j = joiner() %}{% for x in l %}{{ j() }}{{ x }}{% endfor %}{% set j = joiner('; ') %}{{ j() }}a{{ j() }}b
{{ strftime_now('%Y-%m-%d') }}|{{ strftime_now('%d %b %Y') }}|{{ strftime_now('%B %A %j %H:%M:%S %%') }}
{{ s.upper() }}|{{ s.lower() }}|{{ 'hello wORLD it\'s'.title() }}|{{ 'hELLO'.capitalize() }}|{{ 'aB'.swapcase() }}
{{ '  a b '.strip() }}|{{ '  a '.lstrip() }}|{{ '  a '.rstrip() }}|{{ 'xxaxyx'.strip('x') }}|{{ 'xyaxy'.lstrip('yx') }}|{{ 'aé漢é'.rstrip('é漢') }}|{{ '\u00a0a\u3000'.strip() }}|{{ '   '.strip() }}!
{{ 'a,b,,c'.split(',') }}|{{ ' a  b c '.split() }}|{{ 'a b c d'.split(' ', 2) }}|{{ 'a  b  c'.split(none, 1) }}|{{ ''.split() }}|{{ ''.split(',') }}|{{ 'a<t>b<t>c'.split('<t>')[-1] }}
{{ 'a,b,c'.rsplit(',', 1) }}|{{ ' a b  c '.rsplit(None, 1) }}|{{ 'abc'.rsplit('x') }}|{{ 'a b c'.rsplit() }}|{{ ' a b c'.split(maxsplit=1) }}
{{ 'a\nb\r\nc\n'.splitlines() }}|{{ 'a\n\nb'.splitlines(true) }}|{{ ''.splitlines() }}|{{ 'a\x0bb\u2028c'.splitlines() }}
{{ 'abc'.startswith('ab') }}|{{ 'abc'.startswith(('x', 'a')) }}|{{ 'abc'.endswith('bc') }}|{{ 'abc'.endswith(('q',)) }}|{{ 'abc'.startswith('b', 1) }}|{{ 'abc'.endswith('b', 0, 2) }}|{{ ''.startswith('') }}
{{ 'aXbXc'.replace('X', '-') }}|{{ 'aaa'.replace('a', 'b', 2) }}|{{ 'ab'.replace('', '-') }}|{{ 'abc'.replace('', '-', 2) }}|{{ ''.replace('', 'x') }}
{{ ', '.join(['a', 'b']) }}|{{ ''.join('abc') }}|{{ '-'.join([]) }}
{{ 'hello'.find('l') }}|{{ 'hello'.rfind('l') }}|{{ 'hello'.find('z') }}|{{ 'żółw'.find('w') }}|{{ 'hello'.find('l', 3) }}|{{ 'hello'.count('l') }}|{{ 'aaaa'.count('aa') }}|{{ 'abc'.count('') }}|{{ 'hello'.index('e') }}|{{ 'hello'.find('') }}|{{ 'abab'.rfind('ab', 0, 3) }}
{{ 'prefix_x'.removeprefix('prefix_') }}|{{ 'a.txt'.removesuffix('.txt') }}|{{ 'abc'.removeprefix('x') }}|{{ 'abc'.removesuffix('') }}
{{ '12'.isdigit() }}|{{ '1a'.isdigit() }}|{{ ''.isdigit() }}|{{ 'aé漢'.isalpha() }}|{{ 'a1'.isalnum() }}|{{ ' \t'.isspace() }}|{{ 'AB1'.isupper() }}|{{ 'ab'.islower() }}|{{ '²'.isdigit() }}|{{ '½'.isnumeric() }}|{{ '٣'.isdecimal() }}|{{ 'é'.isascii() }}|{{ 'a\n'.isprintable() }}
{{ 'a-b-c'.partition('-') }}|{{ 'a-b-c'.rpartition('-') }}|{{ 'abc'.partition('-') }}|{{ 'abc'.rpartition('-') }}
{{ 'ab'.ljust(4, '.') }}|{{ 'ab'.rjust(4) }}|{{ 'ab'.center(5, '*') }}|{{ 'abc'.center(6) }}|{{ '-5'.zfill(4) }}|{{ '7'.zfill(3) }}
{{ '{} {}'.format(1, 'a') }}|{{ '{0}{1}{0}'.format('x', 'y') }}|{{ '{a}-{b}'.format(a=1, b=2) }}|{{ '{:>5}|{:<5}|{:^5}'.format('a', 'b', 'c') }}|{{ '{:.2f}'.format(3.14159) }}|{{ '{{}}'.format() }}|{{ '{!r}'.format('q') }}|{{ '{:05d}'.format(42) }}|{{ '{:,}'.format(1234567) }}|{{ '{:x}'.format(255) }}|{{ '{:%}'.format(0.25) }}|{{ '{:+}'.format(5) }}|{{ '{0.name}'.format(users[0]) }}|{{ '{0[name]}'.format(users[0]) }}
{{ '%s and %d' % ('a', 5) }}|{{ '%s' % 'x' }}|{{ '%05.1f' % 3.14159 }}|{{ '%x %X %o' % (255, 255, 8) }}|{{ '%-5s|' % 'a' }}|{{ '%5s|' % 'a' }}|{{ '%r' % 'q' }}|{{ '%%' % () }}|{{ '%(a)s %(b)d' % {'a': 1, 'b': 2} }}|{{ '%+d' % 5 }}|{{ '%e' % 12345.678 }}|{{ '%g' % 0.00001 }}|{{ '%c' % 65 }}|{{ '%.2s' % 'abc' }}
{{ l.index(1) }}|{{ l.count(3) }}|{{ (1, 2).index(2) }}|{{ l.copy() }}|{{ d.copy() }}
{{ n is defined }}|{{ zz is defined }}|{{ zz is undefined }}|{{ none is none }}|{{ n is not none }}|{{ d.q is defined }}|{{ d.a is defined }}
{{ s is string }}|{{ n is string }}|{{ d is mapping }}|{{ l is mapping }}|{{ l is iterable }}|{{ n is iterable }}|{{ s is iterable }}|{{ l is sequence }}|{{ d is sequence }}|{{ s is sequence }}|{{ n is sequence }}
{{ n is number }}|{{ t is number }}|{{ n is integer }}|{{ t is integer }}|{{ f is float }}|{{ n is float }}|{{ t is boolean }}|{{ n is boolean }}|{{ t is true }}|{{ no is false }}|{{ 1 is true }}
{{ n is odd }}|{{ n is even }}|{{ 9 is divisibleby 3 }}|{{ 9 is divisibleby(2) }}|{{ 2 is in [1, 2] }}|{{ 2 is in l }}|{{ 'a' is in 'abc' }}|{{ m is odd }}
{{ 1 is eq 1 }}|{{ 1 is equalto 2 }}|{{ 1 is ne 2 }}|{{ 1 is lt 2 }}|{{ 1 is le 1 }}|{{ 2 is gt 1 }}|{{ 2 is ge 3 }}|{{ 1 is lessthan 3 }}|{{ 3 is greaterthan 1 }}|{{ 1 is sameas 1 }}|{{ none is sameas none }}|{{ t is sameas true }}
{{ 'ABC' is upper }}|{{ 'abc' is lower }}|{{ 'aBc' is lower }}|{{ '1' is upper }}|{{ range is callable }}|{{ n is callable }}|{{ s.upper is callable }}|{{ 'upper' is filter }}|{{ 'nope' is filter }}|{{ 'odd' is test }}
{{ not n is odd }}|{{ n is not odd }}|{{ n is odd and m is odd }}|{{ 'x' if n is defined else 'y' }}|{{ n is defined or q }}|{{ (n | string) is string }}
{{ -5 | abs }}|{{ (-5) | abs }}|{{ (-2.5) | abs }}|{{ m | abs }}
{{ users | map(attribute='name') | list }}|{{ users | map(attribute='x.y.0') | list }}|{{ users | map(attribute='x', default='-') | list }}|{{ words | map('upper') | list }}|{{ l | map('string') | join('+') }}|{{ words | map('replace', 'p', 'q') | list }}|{{ users | map(attribute='name') | map('lower') | join(' ') }}
{{ l | select('odd') | list }}|{{ l | reject('odd') | list }}|{{ mixed | select | list }}|{{ mixed | select('string') | list }}|{{ l | select('gt', 1) | list }}|{{ l | select('in', [1, 2]) | list }}
{{ users | selectattr('on') | map(attribute='name') | list }}|{{ users | rejectattr('on') | map(attribute='name') | list }}|{{ users | selectattr('age', 'eq', 31) | map(attribute='name') | join(',') }}|{{ users | selectattr('name', 'equalto', 'bob') | list | length }}|{{ users | selectattr('x', 'defined') | list | length }}|{{ users | rejectattr('x', 'defined') | list | count }}
{{ l | batch(2) | list }}|{{ l | batch(2, 'x') | list }}|{{ range(7) | slice(3) | list }}|{{ range(7) | slice(3, 'f') | list }}|{{ [] | batch(2) | list }}
{{ s | capitalize }}|{{ 'ab' | center(7) }}|{{ 'abc' | center(6) }}|{{ s | title }}|{{ 'foo-bar (baz) it\'s' | title }}|{{ s | lower }}|{{ s | upper }}|{{ 'straße' | upper }}|{{ 'ÉCOLE' | lower }}
{{ missing | default('x') }}|{{ e | default('x') }}|{{ e | default('x', true) }}|{{ none | default('x') }}|{{ none | d('x', true) }}|{{ missing | d }}|{{ d.q | default([]) }}|{{ missing | default(default_value=3) }}
{{ d | dictsort }}|{{ d | dictsort(true) }}|{{ d | dictsort(by='value', reverse=true) }}|{{ d | dictsort(false, 'value') }}
{{ html | escape }}|{{ html | e }}|{{ html | e | e }}|{{ html | forceescape }}|{{ html | safe }}|{{ '<' ~ ('>' | e) }}|{{ '<' + ('>' | e) }}|{{ 5 | e }}
{{ l | first }}|{{ l | last }}|{{ s | first }}|{{ s | last }}|{{ el | first }}|{{ d | first }}|{{ d | last }}
{{ '3.5' | float }}|{{ 'x' | float }}|{{ 'x' | float(1.5) }}|{{ 7 | float }}|{{ '1e3' | float }}|{{ ' 2 ' | float }}|{{ 'inf' | float }}|{{ 'nan' | float }}
{{ '42' | int }}|{{ 'x' | int }}|{{ 'x' | int(9) }}|{{ 3.99 | int }}|{{ '3.7' | int }}|{{ '0x1f' | int(base=16) }}|{{ 'ff' | int(0, 16) }}|{{ '-5' | int }}|{{ none | int }}|{{ true | int }}|{{ [] | int(3) }}
{{ '%s-%s' | format('a', 1) }}|{{ '%(a)s' | format(a=2) }}
{% for g in users | groupby('age') %}{{ g.grouper }}:{{ g.list | map(attribute='name') | join(',') }};{% endfor %}{% for k, v in users | groupby('on') %}{{ k }}={{ v | length }} {% endfor %}
{{ users | groupby('age') | map('first') | list }}|{{ words | map('lower') | sort | list }}|{% for k, v in users | groupby('x', default='no') %}{{ k }} {% endfor %}
{{ text | indent }}|{{ text | indent(2, true) }}|{{ text | indent(2, blank=true) }}|{{ 'a\nb' | indent('> ') }}|{{ 'a\nb\n' | indent(width=1, first=true) }}|
{{ l | join }}|{{ l | join(', ') }}|{{ users | join('/', attribute='name') }}|{{ 'abc' | join('.') }}|{{ [1, none, 'x'] | join('-') }}|{{ d | join(',') }}
{{ l | length }}|{{ s | length }}|{{ u | length }}|{{ d | length }}|{{ missing | length }}|{{ l | count }}|{{ '' | length }}
{{ 'abc' | list }}|{{ d | list }}|{{ (1, 2) | list }}|{{ missing | list }}
{{ l | max }}|{{ l | min }}|{{ words | max }}|{{ words | min }}|{{ words | min(case_sensitive=true) }}|{{ users | max(attribute='age') }}|{{ el | max }}|{{ [1, 2.5] | max }}
{{ 'a.b.c' | replace('.', '-') }}|{{ 'aaa' | replace('a', 'b', 2) }}|{{ 5 | replace('5', 'x') }}
{{ l | reverse | list }}|{{ s | reverse }}|{{ u | reverse }}|{{ (1, 2) | reverse | list }}|{{ d | reverse | list }}
{{ 2.5 | round }}|{{ 3.5 | round }}|{{ 2.675 | round(2) }}|{{ 2.1 | round(0, 'ceil') }}|{{ 2.99 | round(1, 'floor') }}|{{ 7 | round }}|{{ -1.5 | round }}|{{ (-1.5) | round }}|{{ 1234.5 | round(-2) }}|{{ 42.55 | round(1, 'floor') | int }}
{{ l | sort }}|{{ l | sort(reverse=true) }}|{{ words | sort }}|{{ words | sort(case_sensitive=true) }}|{{ users | sort(attribute='age') | map(attribute='name') | list }}|{{ users | sort(attribute='age,name', reverse=true) | map(attribute='name') | list }}|{{ 'hello' | sort | join }}
{{ 5 | string }}|{{ none | string }}|{{ l | string }}|{{ s | string | length }}
{{ '<p>a  <b>b</b>\n c</p><!-- x -->' | striptags }}|{{ 'a &lt; b' | striptags }}
{{ l | sum }}|{{ users | sum(attribute='age') }}|{{ l | sum(start=10) }}|{{ [0.5, 1] | sum }}|{{ [] | sum }}|{{ [[1], [2]] | sum(start=[]) }}
{{ '  a ' | trim }}|{{ 'xxaxx' | trim('x') }}|{{ 5 | trim }}|{{ '\n\t a\u3000' | trim }}!
{{ 'foo bar baz qux' | truncate(9) }}|{{ 'foo bar baz qux' | truncate(9, true) }}|{{ 'foo bar baz qux' | truncate(11) }}|{{ 'foo bar baz qux' | truncate(11, false, '...', 0) }}|{{ 'foobar' | truncate(3, leeway=0, end='') }}|{{ 'foo bar baz' | truncate(6, end='~', leeway=0) }}
{{ words | unique | list }}|{{ words | unique(case_sensitive=true) | list }}|{{ users | unique(attribute='age') | map(attribute='name') | list }}|{{ [1, 1.0, true, 2] | unique | list }}
{{ 'a b/c?d=é&e' | urlencode }}|{{ {'a b': 'c&d', 'x': 1} | urlencode }}|{{ [('q', '/')] | urlencode }}
{{ text | wordcount }}|{{ 'it\'s a-b 5' | wordcount }}|{{ 'a b c d' | wordwrap(3) }}|{{ 'hello big world' | wordwrap(8) }}|{{ 'abcdefgh ij' | wordwrap(4) }}|{{ 'abcdefgh ij' | wordwrap(4, false) }}|{{ 'one two\nthree four' | wordwrap(5, wrapstring='/') }}
{{ {'class': 'a', 'id': none, 'q': '<'} | xmlattr }}|{{ {'a': 1} | xmlattr(false) }}
{{ d | items | list }}|{{ missing | items | list }}|{{ users[0] | attr('name') }}|{{ d | attr('get') is callable }}
{{ mixed | tojson }}|{{ d | tojson }}|{{ html | tojson }}|{{ u | tojson }}|{{ '\n\t\x00\x1f\x7f\\"/' | tojson }}|{{ 1.0 | tojson }}|{{ 1e20 | tojson }}|{{ none | tojson }}|{{ (1, 2) | tojson }}
{{ users | tojson(indent=2) }}|{{ [] | tojson(indent=2) }}|{{ {} | tojson(indent=2) }}|{{ d | tojson(indent=0) }}|{{ d | tojson(indent='--') }}
{{ d | tojson(sort_keys=true) }}|{{ d | tojson(separators=(',', ':')) }}|{{ d | tojson(indent=1, separators=(', ', ' = ')) }}|{{ u | tojson(ensure_ascii=true) }}|{{ {1: 2, none: 3, true: 4, 1.5: 5} | tojson }}|{{ ('inf' | float) | tojson }}
{{ 1000000 | filesizeformat }}|{{ 1 | filesizeformat }}|{{ 500 | filesizeformat }}|{{ 2048 | filesizeformat(true) }}
{{ l | select('odd') | list | length }}|{% if el | select %}always{% endif %}|{% set g = l | map('string') %}{{ g | list }}{{ g | list }}|{{ l | map('string') | first }}
{{ n is defined and n }}|{{ [1, 2, 3] | map('string') | join | int + 1 }}|{{ 'a' ~ 'b' | upper }}|{{ 1 + 2 | string | length }}|{{ -n | abs }}|{{ 2 * l | length }}
{{ range(3) is iterable }}|{{ 'a' < 'b' and 'é' > 'z' }}|{{ [1, 'a'] == [1, 'a'] }}|{{ d == {'C': 3, 'a': 1, 'b': 2} }}|{{ big }}|{{ big + 1 }}|{{ big == 9007199254740992.0 }}
{{ [s, n] | join(': ') }}{{ '' }}{{ ('a', 'b') | join }}{{ {'a': 1}.a }}{{ [1, 2][0] }}{{ 'abc'[1] }}{{ (n) }}
{{ s.split(' ')[0].lower() }}|{{ s.split()[-1] | upper }}|{{ (s + '!').endswith('!') }}|{{ users[0]['na' ~ 'me'] }}|{{ users[-1].x['y'][-1] }}
{{ m(1, *[2, 3], **{'k': 4}) if m is callable else 'no' }}|{{ '{}{}'.format(*['a', 'b']) }}|{{ dict(**{'a': 1}) }}
a {{- n -}} b|a {{ n }} b|a{%- if t %} x {% endif -%} b|a {%- if t -%} x {%- endif -%} b
{{ users | map(attribute='name') is iterable }}|{{ loop is defined }}
{{ namespace(a=1) is mapping }}|{{ none is iterable }}|{{ missing is iterable }}|{{ missing is string }}|{{ missing is sequence }}
{{ '<think>a</think>b'.split('</think>')[-1].lstrip('\n') }}|{{ '<think>a</think>b'.split('</think>')[0].rstrip('\n').split('<think>')[-1].lstrip('\n') }}
{% for m in users[::-1] %}{{ loop.index0 }}{{ m.name }}{{ (users | length - 1) - loop.index0 }} {% endfor %}
{% for m in users %}{%- if loop.first and m.on %}F{% elif loop.last or not m.on %}L{% endif %}{% endfor %}
{% set l2 = l + [9] %}{{ l2 }}{{ l }}|{% set d2 = dict(d, z=9) %}{{ d2 }}|{{ d.items() | list | last }}
{{ s | replace(' ', '_') | lower | capitalize }}|{{ (s | length) // 2 }}|{{ s | list | sort | unique | join }}
{{ 'a' is in s }}|{{ 'content' in nested }}|{{ 'k' in nested and nested.k.z is string }}|{{ nested.k is mapping and nested.k is not string }}
{{ "\"" }}|{{ '"' | tojson }}|{{ "a\\nb" }}|{{ 'a\
b' }}
{{ (l | sort)[0] }}|{{ (d.items() | sort)[0] }}|{{ d | length > 2 }}|{{ l | length == 3 and 'ok' }}
{{ 1 if 0 else 2 if 0 else 3 }}|{{ (1 if 1) or 5 }}|{{ [x for_ in l] if false }}
{{ users | first | attr('age') }}|{{ (users | first).age }}|{{ (users | last).x.y | last }}
"""

BLOCKS = [
    "a\n{% if t %}\nb\n{% endif %}\nc\n", "a\n  {% if t %}\n  b\n  {% endif %}\nc\n\n", "{% for x in l %}\n{{ x }}\n{% endfor %}\n",
    "  {%+ if t %}x{% endif +%}\ny", "a {% if t -%}\n\n  b{%- endif %}\n\nc", "{{ n }}\n{{ n }}\n", "a\r\nb\rc\n\r\n", "\n\n",
    "{# x #}\na\n  {# y #}\nb {# z #}\nc", "  {{ n }}  \n  {{- n }}  \n  {{ n -}}  \n x", "{% set x = 1 %}\n\n{% set y = 2 %}\n{{ x }}{{ y }}\n",
    "{%- for x in l -%}\n  {{ x }}\n{%- endfor -%}\n", "{% raw %}\n{{ a }}\n{% endraw %}\nb", "\t{% if t %}\n\tx\n\t{%- endif %}\n",
    "a\n   {#- gone -#}   \nb", "x\n {% if t %}y{% endif %} \n z", "{% if t %}  {% if t %}\n  x{% endif %}{% endif %}", "{%- macro m() %}\n x\n{%- endmacro -%}\n{{ m() }}|",
    "{{ {'a': {'b': 1}}\n ['a']['b']\n}}", "{% set x %}\n a\n{% endset %}[{{ x }}]", "{% if t %}a\n\n{% endif %}\n\nb\n\n", "{% for x in 'ab' %}\n  {%- if loop.first %}\n A\n  {%- else %}\n B\n  {%- endif %}\n{% endfor %}",
    "line {{ n\n}} end\n", "\u3000{% if t %}x{% endif %}\u00a0\n{%- if t %}y{% endif %}", "{% filter indent(2) %}\na\nb\n{% endfilter %}\n", "{%\n  set\n  x\n  =\n  1\n%}\n{{ x }}",
    "{% if t %}\n{% else %}\n{% endif %}\n.", "a{{ '\n' }}b{{ '\\n' }}c\n", "{{- '' -}}\n\n x", "{#- a -#}\n{#+ b +#}\n c", "{% raw %}{% if %}{{ x }}{# y #}{% endraw %}",
]

ERRORS = r"""
{{ missing.x }}
{{ d.q.r }}
{{ missing + 1 }}
{{ missing() }}
{{ missing[0] }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 'a' + 1 }}
{{ 1 + 'a' }}
{{ [1] + 'a' }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ none + none }}
{{ -'a' }}
{{ 5 in 5 }}
{{ 5 in 'a' }}
{{ n() }}
{{ s.nope() }}
{{ l.append(1) }}
{{ d.update({'a': 1}) }}
{{ l.pop() }}
{{ s.__class__.__mro__ }}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set a, b = (1,) %}
{% set d.x = 1 %}{{ d }}
{{ raise_exception('Conversation roles must alternate') }}
{{ range(1000000) }}
{{ range(1, 2, 0) }}
{{ l | nope }}
{{ n is nope }}
{{ l | join(1, 2, 3, 4) }}
{{ n | length }}
{{ missing | tojson }}
{{ range(3) | tojson }}
{{ l | batch }}
{{ [1, 'a'] | sort }}
{{ 'a' | round }}
{{ s.index('zz') }}
{{ ''.split('') }}
{{ '%d' % 'a' }}
{{ '%s %s' % 'a' }}
{{ '%s' % ('a', 'b') }}
{{ '{}'.format() }}
{{ '-'.join([1, 2]) }}
{{ {[1]: 2} }}
{{ l['a'].b }}
{{ d.items }}{{ d.items.x.y }}
{% macro m(a) %}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{% endmacro %}{{ m(b=1) }}
{% macro m(a) %}{% endmacro %}{{ m(1, a=1) }}
{% macro m() %}{{ caller() }}{% endmacro %}{{ m() }}
{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}
{% for x in l %}{{ loop(l) }}{% endfor %}
{{ dict(1) }}
{{ cycler() }}
{{ l[::0] }}
{{ l['x':] }}
{{ 'abc'.startswith(1) }}
{{ s.replace('a') }}
{{ l | map | list }}
{{ l | selectattr | list }}
{{ 'x' | truncate(1, end='....') }}
{{ d | dictsort(by='q') }}
{{ mixed | sum }}
{{ ['a'] | sum }}
{{ l | tojson(separators=(1,)) }}
{{ (l | map('string')) | length }}
{{ 'a' * 'b' }}
{{ l * 1.5 }}
{{ n.x.y }}
{{ none.x.y }}
{{ s[1].q.z }}
{{ 'a' ~ missing.y }}
{% if missing.a.b %}{% endif %}
{{ 'a' | int(base=99) }}
{{ strftime_now() }}
{{ strftime_now(5) }}
{{ namespace(1) }}
{{ s.strip(1) }}
{{ s.startswith() }}
{{ l | first(1) }}
{{ {'a b': 1} | xmlattr }}
{{ 0 ** -1 }}
{% if %}{% endif %}
{% if t %}
{% endif %}
{% for x l %}{% endfor %}
{% for x in l %}
{% endfor %}{% endfor %}
{% nope %}
{{ }}
{{ 1 + }}
{{ (1 }}
{{ [1 }}
{{ 1) }}
{{ {1} }}
{{ a b }}
{{ 'abc }}
{{ a. }}
{{ a | }}
{{ a is }}
{{ f(a=1, 2) }}
{{ a ! b }}
{{ 1 = 2 }}
{{ a @ b }}
{% set 1 = 2 %}
{% set x %}
{% set true = 1 %}
{% macro %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{% call x %}{% endcall %}
{% else %}
{% endif %}
{# never closed
{% raw %} never closed
{% break %}
{% if no %}{% continue %}{% endif %}
{% for x in l %}{% macro m() %}{% break %}{% endmacro %}{% endfor %}
{% for x in l %}{% call f() %}{% break %}{% endcall %}{% endfor %}
{% for x in el %}{% else %}{% break %}{% endfor %}
{{ missing[ ] }}
{{ n
{% if t
{% with a %}{% endwith %}
{% filter %}{% endfilter %}
{% for true in l %}{% endfor %}
{{ 'a' is string is string }}
{{ not }}
{{ a if }}
{{ * }}
"""


def cases():
    out = [(line, CONTEXT) for line in LINES.strip("\n").replace("\\\n", "\\\x00").split("\n")]
    out = [(t.replace("\x00", "\n"), c) for t, c in out]
    # each part of a line that holds several expressions is a case of its own, too
    parts = []
    for template, context in out:
        pieces = template.split("|{{ ")
        if len(pieces) > 2 and "{%" not in template and "\n" not in template:
            for piece in pieces[1:]:
                if piece.count("}}") == 1 and piece.endswith("}}"):
                    parts.append(("{{ " + piece, context))
    return out + parts + [(t, CONTEXT) for t in BLOCKS] + [(t, CONTEXT) for t in ERRORS.strip("\n").split("\n")]
