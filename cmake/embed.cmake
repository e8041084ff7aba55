# cmake -DIN=FILE -DOUT=FILE -P embed.cmake: the bytes of a file as numbers with commas, for an array in C.
file(READ ${IN} hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "0x\\1," hex "${hex}")
string(REGEX REPLACE ",$" "" hex "${hex}")
string(REGEX REPLACE "((0x..,){20})" "\\1\n" hex "${hex}")
file(WRITE ${OUT} "${hex}\n")
