# CMake reads this right after llama-cpp-python's `project(llama_cpp)`; the Makefile asks for it.
# It leaves out what r1 never loads. What remains is compiled with upstream's own flags, so the kernels stay the same,
# except with the versions of GCC below.

set(LLAVA_BUILD OFF)        # libmtmd, for images and sound
set(LLAMA_BUILD_COMMON OFF) # shared by llama.cpp's own programs; the wheel does not contain it

# GCC before 11.5, 12.4 and 13.3 drops stores to the AMX tile configuration (https://gcc.gnu.org/PR114098), so the first
# matrix product ends in a segmentation fault. Without AMX, llama.cpp uses its AVX-512 kernels.
if(CMAKE_C_COMPILER_ID STREQUAL "GNU" AND CMAKE_SYSTEM_PROCESSOR MATCHES "^(x86_64|AMD64)$")
    string(REGEX MATCH "^[0-9]+" gcc_major "${CMAKE_C_COMPILER_VERSION}")
    set(gcc_fixed_in_11 11.5)
    set(gcc_fixed_in_12 12.4)
    set(gcc_fixed_in_13 13.3)
    if(CMAKE_C_COMPILER_VERSION VERSION_LESS "${gcc_fixed_in_${gcc_major}}") # older than 11: no AMX at all
        add_compile_options(-mno-amx-tile -mno-amx-int8 -mno-amx-bf16)
    endif()
endif()
